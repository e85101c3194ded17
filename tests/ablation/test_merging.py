import json

import numpy as np
import pytest

from mnv2_jax import checksums, schema, side_tables
from mnv2_jax.ablation import merging
from mnv2_jax.predictions import Predictions
from mnv2_jax.side_tables import BlockRow


def write(workdir, run, *, accuracy=0.9, status="done", host="a"):
    folder = workdir / "runs" / run
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"run": run}))
    (folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "accuracy": accuracy}) + "\n")
    (folder / "environment.json").write_text(json.dumps({"host": host}))
    row = {"run_id": run, "status": status, "test_accuracy": accuracy}
    (folder / "result.json").write_text(json.dumps(row))


def state(**entries):
    return json.dumps({claim: {"when": when, "finished": 0} for claim, when in entries.items()})


@pytest.fixture
def folders(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    write(a, "one")
    write(a, "two")
    write(b, "two", host="b")  # Trained twice, with the same result.
    write(b, "three", host="b")
    (b / "runs" / ".three.tmp").mkdir()  # What a kill leaves.
    (a / "stated.json").write_text(state(x="2026-01-02", y="2026-01-01"))
    (b / "stated.json").write_text(state(x="2026-01-01"))
    return a, b


def test_records_of_all_folders_are_copied(folders, tmp_path):
    target = tmp_path / "all"
    assert merging.merge(target, folders) == merging.Merged(3, 1, ())
    assert sorted(path.name for path in (target / "runs").iterdir()) == ["one", "three", "two"]
    assert (target / "runs/three/environment.json").read_text() == json.dumps({"host": "b"})
    # A claim counts as stated when it was stated first.
    stated = checksums.read_json(target / "stated.json")
    assert {claim: entry["when"] for claim, entry in stated.items()} == {
        "x": "2026-01-01",
        "y": "2026-01-01",
    }
    assert merging.merge(target, folders) == merging.Merged(0, 4, ())


def change(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("result.json", {"status": "diverged"}, "its status is diverged, but done in"),
        ("result.json", {"test_accuracy": 0.8}, r"its test_accuracy is 0\.8, but 0\.9 in"),
        ("result.json", {"test_loss": 2}, r"its test_loss is 2, but None in"),
        (
            "metrics.jsonl",
            {"accuracy": 0.8},
            r"its accuracy in line 1 of metrics\.jsonl is 0\.8, but 0",
        ),
        (
            "metrics.jsonl",
            {"learning_rate": 0.1},
            "its learning_rate in line 1 of .* is 0.1, but None",
        ),
        ("config.json", {"seed": 1}, r"its seed in config\.json is 1, but None in"),
        ("environment.json", {"data": "f0"}, "its fingerprint of the images is f0, but ee in"),
    ],
)
def test_results_that_contradict_one_another_are_refused_and_nothing_is_copied(
    folders, tmp_path, file, fields, message
):
    a, b = folders
    for folder in folders:
        change(folder / "runs/two/environment.json", data="ee")
    change(b / "runs/two" / file, **fields)
    with pytest.raises(ValueError, match=f"^{b}: run two: {message}.* {a}; expected one result"):
        merging.merge(tmp_path / "all", folders)
    assert not (tmp_path / "all").exists()


def test_machine_and_number_of_lanes_do_not_matter(folders, tmp_path):
    change(folders[1] / "runs/two/result.json", seconds=9.5, lanes=4, device="gpu x 1")
    change(folders[1] / "runs/two/environment.json", data="ee")  # Older records have none.
    assert merging.merge(tmp_path / "all", folders) == merging.Merged(3, 1, ())


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("result.json", {"test_calibration_error": 0.02, "train_loss": 0.1}),
        ("metrics.jsonl", {"validation_calibration_error": 0.02}),
        ("config.json", {"metrics": "accuracy,loss,calibration_error"}),
    ],
)
def test_one_of_two_records_may_have_metrics_that_the_other_lacks(folders, tmp_path, file, fields):
    change(folders[1] / "runs/two" / file, **fields)
    assert merging.merge(tmp_path / "all", folders) == merging.Merged(3, 1, ())
    change(folders[0] / "runs/two" / file, **dict.fromkeys(fields, 0.5))
    if file != "config.json":
        with pytest.raises(ValueError, match="expected one result per run"):
            merging.merge(tmp_path / "other", folders)


def test_one_of_two_records_may_have_left_test_images_unread(folders, tmp_path):
    path = folders[1] / "runs/two/result.json"
    row = json.loads(path.read_text())
    del row["test_accuracy"]
    path.write_text(json.dumps(row))
    assert merging.merge(tmp_path / "all", folders) == merging.Merged(3, 1, ())


def test_a_record_that_is_not_whole_is_not_taken_and_is_replaced(folders, tmp_path):
    missing = folders[0] / "runs/one/result.json"
    missing.unlink()
    target = tmp_path / "all"
    (target / "runs/two").mkdir(parents=True)
    told = f"{missing}: it is damaged (no such file)"
    assert merging.merge(target, folders) == merging.Merged(2, 1, (told,))
    assert not (target / "runs/one").exists()
    assert (target / "runs/two/result.json").is_file()


def measure(folder, split="test", **accuracies):
    """Write a side table of runs, by their records as they are."""
    columns = {"again/accuracy": schema.Column("again/accuracy", "number", "measure", "Accuracy")}
    rows = {run: {"again/accuracy": value} for run, value in accuracies.items()}
    of_records = {run: side_tables.record_of(folder, run) for run in rows}
    about = {"split": split, "data": "", "evaluator": "metrics"}
    labels = np.arange(4, dtype=np.int32)
    losses = {run: np.full(4, value, np.float32) for run, value in accuracies.items()}
    tested = {run: Predictions(labels, labels, losses[run], tuple("abcd")) for run in rows}
    dead = {"dead": schema.Column("dead", "number", "measure", "Dead", since="")}
    blocks = {run: [BlockRow("block_01", {"dead": 10 * x})] for run, x in accuracies.items()}
    table = side_tables.SideTable("again", columns, rows, about, of_records, tested, blocks, dead)
    side_tables.write(folder, table)


def test_side_tables_of_one_name_become_one(folders, tmp_path):
    a, b = folders
    change(b / "runs/two/result.json", seconds=9.5)  # Another record of the same results.
    measure(a, one=0.7, two=0.8)
    measure(b, two=0.8, three=0.9)
    change(a / "runs/one/result.json", seconds=9.5)  # Trained again since it was measured.
    target = tmp_path / "all"
    merging.merge(target, folders)
    (table,) = side_tables.read_all(target)
    assert table.rows == {run: {"again/accuracy": x} for run, x in (("two", 0.8), ("three", 0.9))}
    assert table.records == {run: side_tables.record_of(target, run) for run in table.rows}
    assert table.about["evaluator"] == "metrics"
    assert {run: [*rows] for run, rows in table.blocks.items()} == {
        "two": [BlockRow("block_01", {"dead": 8.0})],
        "three": [BlockRow("block_01", {"dead": 9.0})],
    }
    assert table.block_columns["dead"].label == "Dead"
    assert merging.merge(target, folders) == merging.Merged(0, 4, ())
    (again,) = side_tables.read_all(target)
    assert again._replace(predictions={}) == table._replace(predictions={})
    for found in (table, again):
        losses = {run: float(one.losses[0]) for run, one in found.predictions.items()}
        assert losses == pytest.approx({"two": 0.8, "three": 0.9}, rel=1e-3)


@pytest.mark.parametrize(
    ("split", "accuracy", "message"),
    [
        ("test", 0.7, "its again/accuracy of run two is 0.7, but 0.8 in"),
        ("train", 0.8, "its split is train, but test in"),
    ],
)
def test_side_tables_that_contradict_one_another_are_refused(
    split, accuracy, message, folders, tmp_path
):
    measure(folders[0], two=0.8)
    measure(folders[1], split, two=accuracy)
    with pytest.raises(ValueError, match=f"b: side table again: {message}"):
        merging.merge(tmp_path / "all", folders)
    assert not (tmp_path / "all").exists()


def test_measures_of_blocks_that_contradict_one_another_are_refused(folders, tmp_path):
    for folder in folders:
        measure(folder, two=0.8)
    (table,) = side_tables.read_all(folders[1])
    blocks = {"two": [BlockRow("block_01", {"dead": 7.0})]}
    side_tables.write(folders[1], table._replace(blocks=blocks))
    message = "its again/dead of block 1 of run two is 7.0, but 8.0 in"
    with pytest.raises(ValueError, match=f"b: side table again: {message}"):
        merging.merge(tmp_path / "all", folders)


def test_a_damaged_side_table_is_left_out_and_named(folders, tmp_path):
    measure(folders[0], two=0.8)
    path = folders[0] / "evaluations" / "again.json"
    path.unlink()
    assert merging.merge(tmp_path / "all", folders).damaged == (
        f"{path}: it is damaged (no such file)",
    )


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match="it has no folder runs/"):
        merging.merge(tmp_path / "all", [tmp_path])


@pytest.mark.parametrize("text", ["{", "[]", '{"x": 7}', '{"x": {}}'])
def test_damaged_notes_of_claims_are_left_out_and_named(text, folders, tmp_path):
    path = folders[1] / "stated.json"
    path.write_text(text)
    merged = merging.merge(tmp_path / "all", folders)
    assert (merged.copied, merged.known) == (3, 1)
    assert [line.partition(" (")[0] for line in merged.damaged] == [f"{path}: it is damaged"]
    assert checksums.read_json(tmp_path / "all" / "stated.json")["x"]["when"] == "2026-01-02"
