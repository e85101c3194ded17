"""The evaluator of bottlenecks, and measures of blocks by a user's own: files, merges, errors."""

import dataclasses
import functools
import json
import re
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

from configs import digits
from mnv2_jax import api, arch, presets, schema, side_tables
from mnv2_jax.ablation import bottlenecks, bucket, merging, resolve, subject
from mnv2_jax.ablation.evaluations import Request
from mnv2_jax.ablation.grid import axis, product
from mnv2_jax.ablation.job import DataOptions
from mnv2_jax.analysis.claims import greater
from mnv2_jax.data import augment
from mnv2_jax.nn import probes, trained
from mnv2_jax.nn.network import Network
from tests import commands

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_charts")]

TABLE = "validation_bottlenecks"
OF_BOUNDS = ["active", "dead"]
OF_EXPANSION = ["positive_mean", "positive_min"]


@pytest.fixture(scope="module")
def experiment():
    presets.PRESETS["two_blocks"] = presets.Preset(
        8, 1, 8, 2, lambda t: (presets.Stage(t, 8, 2, 2),), 32, 10, arch.BlockSpec(divisor=1)
    )
    config = digits.get_config()
    config.model.preset = "two_blocks"
    config.model.expansion = 2.0
    config.train.epochs = 2
    points = product(
        axis("model.projection", ("linear", "relu6", "leaky_relu", "gelu")),
        axis("model.expansion", (1.0, 2.0)),
        axis("seed", range(2)),
    )
    return api.Experiment(config, points, name="probed")


@pytest.fixture(scope="module")
def results(without_charts, experiment, tmp_path_factory):
    return experiment.run(tmp_path_factory.mktemp("runs") / "work", progress=False)


@pytest.fixture(scope="module")
def table(results):
    return results.evaluate(evaluator="bottlenecks")


@pytest.fixture
def copied(results, table, tmp_path):
    """The experiment's folder with its measures of blocks, to be changed."""
    return api.Results.open(shutil.copytree(results.path, tmp_path / "copy"))


def images_of(split, count=None):
    selection = resolve.data_selection(digits.get_config())
    images = getattr(DataOptions().open(selection), split)
    places = range(len(images))
    if count:
        places = np.arange(count) * len(images) // count
    return np.stack([images[int(place)].image for place in places])


def probed(network, images):
    """Each block's measures of a network by itself, all images at a time."""
    observe = jax.jit(functools.partial(probes.observe, Network(network.spec)))
    found = []
    for tensors in observe(network.variables, None, augment.scale(images, network.scaling)):
        sums = probes.Sums()
        sums.add(tensors, np.ones(len(images)), 0)
        found.append(sums.finish()._asdict())
    return pd.DataFrame(found).astype(float)


def assert_same(blocks, expected):
    measures = [*probes.Probed._fields]
    np.testing.assert_allclose(blocks[measures], expected[measures], rtol=1e-4, atol=1e-5)


def test_each_lane_is_measured_as_its_network_alone_on_validation_images(results, table):
    blocks = results.blocks()
    images = images_of("validation")
    assert len(images) <= bottlenecks.IMAGES
    assert len(table) == 16
    for run, own in blocks.groupby("run_id"):
        network = trained.load(results.path / "runs" / str(run) / trained.FILE)
        assert own["name"].tolist() == ["block_01", "block_02"]
        assert own["number"].tolist() == [1, 2]
        expected = probed(network, images)
        assert_same(own, expected)
        summary = table.loc[run].rename(lambda name: name.partition("/")[2])
        for name in ("active", "dead", "rank_before", "rank_after"):
            share = (expected[name] / expected["channels"]).mean()
            assert summary[name] == pytest.approx(share, rel=1e-4, nan_ok=True)
        least = (expected["active"] / expected["channels"]).min()
        assert summary["least_active"] == pytest.approx(least, rel=1e-4, nan_ok=True)
        assert summary["decodable"] == pytest.approx(expected["decodable"].mean(), rel=1e-3)
        positive = expected["positive_min"].min()
        assert summary["positive_min"] == pytest.approx(positive, abs=1e-5, nan_ok=True)


def test_blocks_lack_what_does_not_apply_to_them(results, table):
    blocks = results.blocks()
    by_projection = blocks.groupby("projection")
    assert by_projection.get_group("gelu")[OF_BOUNDS].isna().all(axis=None)
    assert (by_projection.get_group("linear")["active"] == 8).all()
    assert (by_projection.get_group("linear")["dead"] == 0).all()
    for projection in ("relu6", "leaky_relu"):
        assert (by_projection.get_group(projection)["active"] < 7).all()
    first = blocks[blocks["expansion"] == 1]
    assert first[OF_EXPANSION].isna().all(axis=None)
    assert blocks[blocks["expansion"] == 2][OF_EXPANSION].notna().all(axis=None)
    assert {"block", "seed", "shortcut"} <= {*blocks}
    assert (blocks["block"] == "inverted_residual").all()


def test_each_block_is_measured_by_the_bounds_of_its_own_projection(
    experiment, tmp_path, without_charts
):
    config = digits.get_config()
    config.model.preset = "two_blocks"
    config.model.expansion, config.model.projection, config.train.epochs = 2.0, "relu6", 1
    points = axis("model.projection_blocks", ("all", "2", "none"))
    found = api.Experiment(config, points, name="some").run(tmp_path, progress=False)
    found.evaluate(evaluator="bottlenecks")
    blocks = found.blocks()
    is_linear = (blocks["active"] == blocks["channels"]).groupby(blocks["model.projection_blocks"])
    assert {name: one.tolist() for name, one in is_linear} == {
        "all": [False, False],
        "2": [True, False],
        "none": [True, True],
    }


def test_summaries_are_described_measures_that_claims_take(results, table):
    column = results.column(f"{TABLE}/active")
    assert column.title == f"Active channels, {TABLE} (%)"
    assert (column.kind, column.digits, column.better) == ("measure", 1, "higher")
    assert results.column(f"{TABLE}/dead").better == "lower"
    claim = greater("active", "here", "Linear keeps more", "model.projection", "linear", "relu6")
    claim = dataclasses.replace(claim, metric=f"{TABLE}/active")
    decided = results.decide([claim])
    assert decided["pairs"].tolist() == [4]
    assert decided["estimate"].item() > 0.1
    assert api.Results.open(results.path).blocks(TABLE).shape[0] == 32


def test_of_many_images_some_are_measured_and_that_is_said(copied, monkeypatch):
    monkeypatch.setattr(bottlenecks, "IMAGES", 50)
    said: list[str] = []
    copied.evaluate("train", evaluator="bottlenecks", name="some", say=said.append)
    assert said.count("bottlenecks are measured on 50 of 1,047 images, evenly spaced") == 1
    run, own = next(iter(copied.blocks("some").groupby("run_id")))
    network = trained.load(copied.path / "runs" / str(run) / trained.FILE)
    assert_same(own, probed(network, images_of("train", 50)))


def test_results_are_the_same_whatever_fits_into_memory(copied, table, monkeypatch):
    monkeypatch.setattr(subject, "_BATCH_BYTES", 150_000)
    parts = copied.evaluate(evaluator="bottlenecks", name="parts")
    np.testing.assert_allclose(parts.to_numpy(), table.to_numpy(), rtol=1e-4, atol=1e-6)


def test_a_run_that_was_trained_anew_has_no_measures_of_blocks(copied):
    blocks = copied.blocks()
    first = blocks["run_id"].iloc[0]
    path = copied.path / "runs" / first / "result.json"
    path.write_text(path.read_text().replace("\n", " \n"))
    rest = blocks[blocks["run_id"] != first].reset_index(drop=True)
    pd.testing.assert_frame_equal(api.Results.open(copied.path).blocks(), rest)


def test_damaged_measures_of_blocks_are_named_and_written_anew(copied):
    before = copied.blocks()
    path = copied.path / "blocks" / f"{TABLE}.csv"
    path.write_text(path.read_text().replace("block_01", "block_03"))
    opened = api.Results.open(copied.path)
    with pytest.raises(ValueError, match=rf"blocks/{TABLE}\.csv: it is damaged .* writes it anew"):
        _ = opened.frame
    opened.evaluate(evaluator="bottlenecks")
    pd.testing.assert_frame_equal(opened.blocks(), before)


def test_merged_workdirs_have_the_measures_of_blocks_of_both(copied, tmp_path):
    blocks = copied.blocks()
    halves = [shutil.copytree(copied.path, tmp_path / name) for name in "ab"]
    runs = sorted(set(blocks["run_id"]))
    (whole,) = [one for one in side_tables.read_all(copied.path) if one.name == TABLE]
    for half, own in zip(halves, (runs[:10], runs[6:]), strict=True):
        for other in set(runs) - set(own):
            shutil.rmtree(half / "runs" / other)
        kept = {run: whole.rows[run] for run in own}
        of_blocks = {run: whole.blocks[run] for run in own}
        shutil.rmtree(half / "evaluations")
        side_tables.write(half, whole._replace(rows=kept, blocks=of_blocks))
    merging.merge(tmp_path / "all", halves)
    (found,) = side_tables.read_all(tmp_path / "all")
    assert found.blocks == whole.blocks
    assert found.block_columns == whole.block_columns


def test_buckets_share_measures_of_blocks():
    names = [f"blocks/{TABLE}.csv", f"blocks/{TABLE}.csv.sha256"]
    assert all(bucket._PULLED.fullmatch(name) for name in names)
    assert "blocks" in schema.FOLDERS


def test_the_split_is_the_evaluators_unless_told(tmp_path):
    request = Request(evaluator="bottlenecks")
    assert (request.split, request.table) == ("validation", TABLE)
    assert Request(evaluator="bottlenecks", split="test").table == "test_bottlenecks"
    assert Request(evaluator="bottlenecks", data="digits").split == "test"
    assert Request().split == "test"


def test_the_command_names_the_table_of_blocks_and_what_is_wrong(copied):
    where = f"--workdir={copied.path}"
    status, out, err = commands.run("evaluate", where, "--evaluator=bottlenecks", "--name=command")
    assert (status, err) == (0, "")
    assert f"Blocks: {copied.path}/blocks/command.csv" in out
    assert re.search(r"command/active: mean [0-9.]+ % over 16 runs", out)
    status, out, err = commands.run("evaluate", where, "--evaluator=bottleneck")
    assert status == 2
    assert "evaluator='bottleneck': expected FILE.py:FUNCTION or one of metrics, bfloat16, " in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


OWN = """
import numpy as np

def sizes(subject):
    subject.describe("largest", "Largest weight", digits=4, of_blocks=True)
    subject.per_block = [
        [
            {"largest": np.abs(one.variables["params"][name]["project"]["kernel"]).max(),
             "first": 1 if name == "block_01" else None}
            for name in ("block_01", "block_02")
        ]
        for one in subject.networks
    ]
    return [{"layers": 2} for _ in subject.networks]
"""


def test_an_evaluator_of_ones_own_measures_blocks(copied, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(OWN)
    copied.evaluate(evaluator=f"{own}:sizes", name="mine")
    blocks = copied.blocks("mine")
    assert blocks[["first"]].isna().sum().item() == 16
    run = blocks.iloc[0]
    network = trained.load(copied.path / "runs" / run["run_id"] / trained.FILE)
    kernel = network.variables["params"]["block_01"]["project"]["kernel"]
    assert run["largest"] == pytest.approx(np.abs(kernel).max(), rel=1e-7)
    described = json.loads((copied.path / "evaluations" / "mine.json").read_text())["blocks"]
    assert described["largest"]["label"] == "Largest weight"
    assert described["first"]["label"] == "First"
    message = f"name='': no such measures of blocks; expected one of mine, {TABLE}"
    with pytest.raises(ValueError, match=message):
        copied.blocks()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[[{'a': 1.0}]]", "per_block is of 1 networks; expected 16"),
        ("5", "per_block is 5; expected a list with an entry per network"),
        ("[[{'a': 1.0}]] * n", r"per_block gives \[{'a': 1.0}\] of a network; expected 2 mappings"),
        ("[7] * n", "per_block gives 7 of a network; expected 2 mappings"),
        ("[[{}, 3]] * n", "per_block gives 3 of block_02; expected a mapping"),
        ("[[{'a b': 1}, {}]] * n", "per_block: measure 'a b' is 1; expected a name of letters"),
        ("[[{'a': 'x'}, {}]] * n", "per_block: measure 'a' is 'x'; expected a name of letters"),
        ("[[{'a': float('nan')}, {}]] * n", "measure 'a' is nan; .* a finite number"),
        ("[[{'seed': 1}, {}]] * n", "measure 'seed' of block_01: tables have such a column"),
        ("[[{}, {'number': 1}]] * n", "measure 'number' of block_02: tables have such a column"),
    ],
)
def test_wrong_measures_of_blocks_are_named(results, tmp_path, value, message):
    own = tmp_path / "own.py"
    own.write_text(
        f"def wrong(subject):\n    n = len(subject.runs)\n    subject.per_block = {value}\n"
        "    return [{'x': 1.0}] * n\n"
    )
    first = message.startswith("per_block is of")
    message = message.replace("16", r"\d+") if first else message
    with pytest.raises(ValueError, match=rf"evaluator='.*own\.py:wrong': .*{message}") as raised:
        results.evaluate(evaluator=f"{own}:wrong", name="wrong")
    assert "\n" not in str(raised.value)
    assert not (results.path / "blocks" / "wrong.csv").exists()


def test_without_measures_of_blocks_the_way_to_them_is_named(copied):
    shutil.rmtree(copied.path / "evaluations")
    message = r"name='': no such .*; expected evaluate\(evaluator='bottlenecks'\)"
    with pytest.raises(ValueError, match=message):
        api.Results.open(copied.path).blocks()
