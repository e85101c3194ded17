import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnv2_jax import schema
from mnv2_jax.analysis import tables
from mnv2_jax.analysis.claims import greater
from mnv2_jax.analysis.tables import distinct_values, read_curves, read_files, read_results
from mnv2_jax.analysis.verdicts import decide
from tests.analysis.synthetic import EPOCHS, make_frame, stop, write_workdir


def test_text_stays_text_and_numbers_are_numbers(workdir: Path) -> None:
    frame = read_results(workdir)
    assert len(frame) == 144
    assert frame["run_id"].iloc[0] == "0000e99"
    assert set(frame["shortcut"]) == {"bottleneck", "none"}
    assert frame["expansion"].dtype == float
    assert frame["test_accuracy"].isna().sum() == 2


def test_words_that_pandas_takes_for_missing_stay_words(tmp_path: Path) -> None:
    make_frame().assign(block="null", device="").to_csv(tmp_path / "results.csv", index=False)
    frame = read_results(tmp_path)
    assert set(frame["block"]) == {"null"}
    assert set(frame["device"]) == {""}


def test_empty_cells_leave_numbers_and_truth_values_what_they_are(tmp_path: Path) -> None:
    cells = {
        "extraction.train.learning_rate": ["0.05", "", "0.1"],
        "extraction.augment.flip": ["True", "False", ""],
        "extraction.model.kind": ["fused", "", "2"],
        "train.note": ["", "", ""],
    }
    frame = make_frame().head(3).assign(**cells)
    frame.to_csv(tmp_path / "results.csv", index=False)
    found = read_results(tmp_path)
    rates = found["extraction.train.learning_rate"]
    assert rates.dtype == float
    assert rates.tolist() == pytest.approx([0.05, np.nan, 0.1], nan_ok=True)
    flips = found["extraction.augment.flip"]
    assert flips.tolist()[:2] == [True, False]
    assert np.isnan(flips[2])
    assert found["extraction.model.kind"].tolist() == ["fused", "", "2"]
    assert found["train.note"].tolist() == ["", "", ""]


def test_claims_on_columns_with_empty_cells_are_decided(tmp_path: Path) -> None:
    rate, flip = "extraction.train.learning_rate", "extraction.augment.flip"
    frame = make_frame(expansions=(6,), shortcuts=("none",))
    parts = [frame.assign(**{rate: "", flip: ""})]
    for number in (0.05, 0.1):
        better = frame["test_accuracy"] - (0.1 + 1e-4 * frame["seed"]) * (number > 0.07)
        parts.append(frame.assign(**{rate: number, flip: number < 0.07, "test_accuracy": better}))
    pd.concat(parts, ignore_index=True).to_csv(tmp_path / "results.csv", index=False)
    claims = [
        greater("axis", "", "", rate, 0.05, 0.1, covarying=[flip]),
        greater("where", "", "", "model.projection", "linear", "relu6", {rate: 0.05}),
        greater("truth", "", "", flip, True, False, covarying=[rate]),
        greater("truths", "", "", "model.projection", "linear", "relu6", {flip: True}),
    ]
    decided = decide(claims, read_results(tmp_path))
    assert [row["verdict"] for row in decided] == ["supported"] * 4
    assert [row["pairs"] for row in decided] == [12, 6, 12, 6]
    assert decided[0]["estimate"] == pytest.approx(0.1, abs=1e-3)


def test_a_field_of_a_phases_section_is_no_column_of_the_run_itself() -> None:
    frame = make_frame().head(1)
    assert tables.column(frame, "train.epochs") == "epochs"
    assert tables.column(frame, "extraction.train.epochs") == "extraction.train.epochs"
    assert tuple(map(tables.section, schema.SECTIONS)) == ("",) * len(schema.SECTIONS)
    for name in schema.SECTIONS:
        assert tables.section(f"{name}.train.epochs") == name
    assert tables.section("train.epochs") == ""


def test_a_sweep_without_rows_reads_as_an_empty_table(tmp_path: Path) -> None:
    make_frame().head(0).to_csv(tmp_path / "results.csv", index=False)
    assert read_results(tmp_path).empty


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("status", "finished", "column status.*finished.*must be one of"),
        ("madds", "many", "column madds.*must be numbers"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, column: str, value: str, message: str) -> None:
    frame = make_frame().head(2).assign(**{column: value})
    frame.to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path)


def test_a_missing_file_an_empty_one_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no results\.csv"):
        read_results(tmp_path)
    (tmp_path / "results.csv").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        read_results(tmp_path)
    make_frame().drop(columns="seed").to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(ValueError, match=r"lacks the columns \['seed'\]"):
        read_results(tmp_path)


def test_curves_have_a_row_per_epoch_and_null_is_nan(tmp_path: Path) -> None:
    frame = make_frame(expansions=(6,), seeds=1)
    stop(frame, 1)
    workdir = write_workdir(tmp_path, frame)
    (workdir / "runs" / frame["run_id"][2] / "metrics.jsonl").unlink()
    curves = read_curves(workdir, frame)
    assert len(curves) == 3 * EPOCHS
    assert list(curves["epoch"][:EPOCHS]) == [1, 2, 3, 4, 5]
    diverged = curves[curves["run_id"] == frame["run_id"][1]]
    assert diverged["validation_accuracy"].isna().all()
    assert np.isfinite(diverged["train_loss"]).all()


def test_running_numbers_of_older_versions_are_not_those_in_inference_mode(tmp_path: Path) -> None:
    frame = make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",), seeds=1)
    path = write_workdir(tmp_path, frame) / "runs" / frame["run_id"][0] / "metrics.jsonl"
    path.write_text('{"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.8}')
    (curve,) = read_curves(tmp_path, frame).to_dict("records")
    assert (curve["running_loss"], curve["running_accuracy"]) == (0.5, 0.8)
    assert np.isnan([curve["train_loss"], curve["train_accuracy"]]).all()


def test_a_broken_line_of_a_curve_is_named(tmp_path: Path) -> None:
    frame = make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",), seeds=1)
    path = write_workdir(tmp_path, frame) / "runs" / frame["run_id"][0] / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: .*it is damaged"):
        read_curves(tmp_path, frame)


def test_environments_are_flattened_and_differences_kept(tmp_path: Path) -> None:
    frame = make_frame(expansions=(6,), projections=("linear",), seeds=1)
    workdir = write_workdir(tmp_path, frame)
    other = workdir / "runs" / frame["run_id"][1] / "environment.json"
    other.write_text(json.dumps({"python": "3.12.0", "libraries": {"jax": "0.10.2"}}))
    files = read_files(workdir, frame, "environment.json")
    assert files[frame["run_id"][1]] == {"python": "3.12.0", "libraries.jax": "0.10.2"}
    assert distinct_values(files) == {
        "python": ["3.11.2", "3.12.0"],
        "libraries.jax": ["0.10.2"],
        "devices": ['["cpu:0"]'],
    }
    assert read_files(workdir, pd.DataFrame({"run_id": []}), "environment.json") == {}
    other.write_text("{")
    with pytest.raises(ValueError, match=r"environment.json: it is damaged"):
        read_files(workdir, frame, "environment.json")
