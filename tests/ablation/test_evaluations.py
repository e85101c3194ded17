"""Evaluations of finished runs."""

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from configs import digits
from mnv2_jax import api, arch, predictions, presets, side_tables
from mnv2_jax.ablation.evaluations import Request
from mnv2_jax.ablation.grid import axis, product
from mnv2_jax.analysis.claims import greater
from mnv2_jax.nn import trained
from mnv2_jax.train import memory

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_charts")]


def config():
    presets.PRESETS["one_block"] = presets.Preset(
        8, 1, 8, 2, lambda t: (presets.Stage(t, 8, 1, 1),), 32, 10, arch.BlockSpec(divisor=1)
    )
    found = digits.get_config()
    found.model.preset = "one_block"
    found.model.expansion = 2.0
    found.train.epochs = 2
    found.metrics = "accuracy,loss,calibration_error"
    return found


GRID = product(
    axis("model.projection", ("linear", "relu6", "leaky_relu", "gelu")), axis("seed", range(2))
)


@pytest.fixture(scope="module")
def results(without_charts, tmp_path_factory):
    experiment = api.Experiment(config(), GRID, name="evaluated")
    return experiment.run(tmp_path_factory.mktemp("runs") / "work", progress=False)


def test_runs_whose_splits_are_drawn_are_measured_on_their_own(tmp_path):
    points = product(
        axis("data.split", ("fixed", "per_seed")),
        axis("model.projection", ("linear", "relu6")),
        axis("seed", range(2)),
    )
    claim = greater("drawn", "here", "Same", "data.split", "fixed", "per_seed")
    paired = greater("linear", "here", "Linear is better", "model.projection", "linear", "relu6")
    experiment = api.Experiment(config(), points, [claim, paired], name="drawn")
    results = experiment.run(tmp_path / "work", progress=False)
    for split in ("train", "validation", "test"):
        table = results.evaluate(split)
        frame = results.frame.set_index("run_id").loc[table.index]
        np.testing.assert_allclose(table[f"{split}/loss"], frame[f"{split}_loss"], rtol=1e-5)
    by_split = results.frame.groupby(["data.split", "projection"])["test_loss"]
    assert by_split.nunique().tolist() == [2] * 4
    assert results.decide()["pairs"].tolist() == [4, 4]


def test_test_images_that_were_left_unread_are_measured_later(tmp_path):
    untested = config()
    untested.evaluate_test = False
    claim = greater("linear", "here", "Linear is better", "model.projection", "linear", "relu6")
    claim = dataclasses.replace(claim, metric="validation_accuracy")
    results = api.Experiment(untested, GRID, [claim], name="untested").run(
        tmp_path / "work", progress=False
    )
    tested = [name for name in results.frame if name.startswith("test_")]
    assert tested[:2] == ["test_accuracy", "test_loss"]
    assert results.frame[tested].isna().all(axis=None)
    assert (results.frame["status"] == "done").all()
    assert not list(tmp_path.glob("work/runs/*/test.npz"))
    assert "Mean validation accuracy" in (tmp_path / "work/report.html").read_text()
    assert results.decide()["pairs"].tolist() == [2]
    assert results.plot("projection").heading.startswith("Validation accuracy over ")
    table = results.evaluate("test")
    assert table["test/accuracy"].notna().all()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_same_split_gives_the_same_numbers(results, split):
    table = results.evaluate(split)
    frame = results.frame.set_index("run_id").loc[table.index]
    assert len(table) == 8
    for metric in ("accuracy", "loss", "calibration_error"):
        found, recorded = table[f"{split}/{metric}"], frame[f"{split}_{metric}"]
        # Lanes of other projections are beside them: programs round otherwise, hits do not.
        np.testing.assert_allclose(found, recorded, rtol=1e-5, atol=1e-6)
    joined = results.frame  # Of both, the nine digits that tables have.
    np.testing.assert_array_equal(joined[f"{split}/accuracy"], joined[f"{split}_accuracy"])


def test_as_many_at_a_time_as_memory_holds(results, monkeypatch):
    whole = results.evaluate("test", name="whole")
    monkeypatch.setattr(memory, "usable", lambda device: 1)  # Not even one fits, and one is tried.
    parts = results.evaluate("test", name="parts")
    np.testing.assert_allclose(parts.to_numpy(), whole.to_numpy(), rtol=1e-6)


def test_predictions_are_kept_where_measures_follow_from_them(results, tmp_path):
    results.evaluate("test", name="seen")
    path = tmp_path / "another.py"
    path.write_text(
        "def of_zeros(subject):\n"
        "    before = subject.measure()\n"
        "    subject.measure(variables=[{**one.variables, 'params': {\n"
        "        name: {key: 0 * value for key, value in layer.items()} if name == 'classifier'\n"
        "        else layer for name, layer in one.variables['params'].items()}}\n"
        "        for one in subject.networks])\n"
        "    return before\n"
    )
    results.evaluate("test", evaluator=f"{path}:of_zeros", name="other")
    results.evaluate("train", name="trained")
    tables = {table.name: table for table in side_tables.read_all(results.path)}
    assert len(tables["seen"].predictions) == 8
    assert not tables["other"].predictions
    assert not tables["trained"].predictions
    for run, found in tables["seen"].predictions.items():
        own = predictions.read(results.path, run)
        assert own is not None
        assert found.has_images_of(own)
        np.testing.assert_array_equal(found.predicted, own.predicted)
        assert found.class_names == own.class_names


def test_bfloat16_is_near_and_not_the_same(results):
    half = results.evaluate("test", evaluator="bfloat16")
    assert half.columns[0] == "test_bfloat16/accuracy"
    frame = results.frame.set_index("run_id").loc[half.index]
    difference = (half["test_bfloat16/loss"] - frame["test_loss"]).abs()
    assert 0 < difference.max() < 0.05


@pytest.mark.parametrize("pieces", ["channels:2", "channels:t", "patches:2"])
def test_blocks_in_pieces_give_the_same_numbers(results, pieces):
    table = results.evaluate("test", pieces=pieces)
    name = f"test_{pieces.replace(':', '')}"
    frame = results.frame.set_index("run_id").loc[table.index]
    for metric in ("accuracy", "loss"):
        found = table[f"{name}/{metric}"]
        np.testing.assert_allclose(found, frame[f"test_{metric}"], rtol=1e-5, atol=1e-6)
    (about,) = (one.about for one in side_tables.read_all(results.path) if one.name == name)
    assert about["pieces"] == pieces


def test_a_table_of_other_pieces_keeps_its_name(results):
    results.evaluate("test", name="pieced", pieces="channels:2")
    with pytest.raises(ValueError, match="side table of that name is of pieces='channels:2'"):
        results.evaluate("test", name="pieced")


def test_another_data_set_of_the_same_classes(results):
    table = results.evaluate("validation", data="digits")
    assert len(table) == 8
    frame = results.frame
    np.testing.assert_array_equal(frame["digits/accuracy"], frame["validation_accuracy"])


def test_a_folder_of_images_of_the_same_classes(tmp_path):
    """Of RGB images of digits; one cannot be decoded."""
    generator = np.random.default_rng(0)
    for label in range(10):
        for split in ("train", "validation", "test"):
            path = tmp_path / "in" / split / str(label) / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(generator.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    plain = config()
    plain.data.name = f"{tmp_path}/in/"
    plain.train.batch_size = 10
    results = api.Experiment(plain, name="folder").run(tmp_path / "work", progress=False)
    (tmp_path / "in/test/3/0.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 30 images cannot be decoded: test/3/0.png"):
        results.evaluate(data=f"{tmp_path}/in/", split="all")
    said: list[str] = []
    table = results.evaluate(
        data=f"{tmp_path}/in/", split="all", on_corrupt="skip", say=said.append
    )
    assert said[-1] == "left out: test/3/0.png: it is empty"
    hits = 29 * table["in/accuracy"].iloc[0]
    assert hits == pytest.approx(round(hits), abs=1e-4)


def test_a_metric_that_runs_were_not_measured_by(results):
    assert "test_top5_accuracy" not in results.frame
    table = results.evaluate("test", metrics="top5_accuracy")
    top5 = table["test/top5_accuracy"]
    assert ((table["test/accuracy"] <= top5) & (top5 <= 1)).all()
    assert (table["test/accuracy"] < top5).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tset"}, "split='tset': expected one of train, validation, test"),
        ({"evaluator": "blur"}, "evaluator='blur': expected FILE.py:FUNCTION or one of metrics"),
        ({"name": "a/b"}, "name='a/b': expected letters, digits and any of"),
        (
            {"pieces": "rows:2"},
            "pieces='rows:2': expected whole, channels:N, channels:t or patches",
        ),
        (
            {"pieces": "channels:2", "evaluator": "bottlenecks"},
            "pieces='channels:2': expected whole with evaluator 'bottlenecks'",
        ),
    ],
)
def test_a_wrong_request_is_named(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Request(**arguments)


def test_names_of_tables_follow_from_what_is_asked():
    assert Request().table == "test"
    assert Request(data="photos:v2", split="all").table == "photos_v2"
    assert Request(data="/data/new photos/", split="all").table == "new_photos"
    assert Request("train", evaluator="bfloat16").table == "train_bfloat16"
    assert Request(pieces="channels:3").table == "test_channels3"
    assert Request(evaluator="bfloat16", pieces="patches:2").table == "test_bfloat16_patches2"
    assert Request(name="mine", pieces="channels:t").table == "mine"


def test_networks_are_kept_where_all_together_are_small(results, tmp_path, capsys):
    assert len([*results.path.glob(f"runs/*/{trained.FILE}")]) == 8
    one = api.Experiment(config(), axis("seed", (0,)), name="one")
    without = one.run(tmp_path, keep_networks=False)
    said = capsys.readouterr().out
    assert "Networks: not kept; --keep_networks keeps them, 0.0 MB in all" in said
    assert not [*without.path.glob(f"runs/*/{trained.FILE}")]
    with pytest.raises(ValueError, match="no finished run there keeps its network; expected an"):
        without.evaluate("test")
