"""The cost of a network from the command line."""

import csv
import io
import json

import pytest

from mnv2_jax.api import memory
from tests import commands, small

pytestmark = pytest.mark.slow


def cost(*arguments):
    return commands.run("cost", *arguments)


def test_mobilenet_v2_as_json():
    arguments = ("--preset=mobilenet_v2", "--width=1.0", "--resolution=224", "--format=json")
    status, out, err = cost(*arguments)
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["params"] == 3_504_872
    assert found["params_with_stats"] == 3_538_984
    assert found["madds"] == 300_774_272
    assert sum(layer["madds"] for layer in found["layers"]) == 300_774_272
    assert found["layers"][0]["layer"] == "stem"
    assert found["layers"][0]["output"] == "112x112x32"


def test_a_network_changed_by_flags():
    flags = ("--width=1.1", "--depth=1.2", "--resolution=64", "--classes=7", "--expansion=3")
    status, out, _ = cost(*flags, "--block=sandglass", "--format=json")
    assert status == 0
    found = json.loads(out)
    assert found["input"] == [64, 64, 3]
    assert found["layers"][-1]["output"] == "7"
    assert any(layer["layer"] == "block_22/depthwise_out" for layer in found["layers"])


def test_the_network_of_a_config_as_csv():
    status, out, _ = cost(
        "--config=configs/digits.py", "--config.model.expansion=2", "--format=csv"
    )
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    expanded = next(row for row in rows if row["layer"] == "block_02/expand")
    assert (expanded["output"], expanded["params"], expanded["madds"]) == ("8x8x8", "32", "2048")


def test_tables_end_in_totals():
    status, out, _ = cost("--preset=mobilenet_v2")
    assert status == 0
    assert "Parameters: 3,504,872; 3,538,984 with statistics\n" in out
    assert "Multiply-adds: 300,774,272\n" in out
    assert "112x112: 32 (803 kB)" in out


def test_separable_against_standard():
    status, out, _ = cost("--preset=mobilenet_v1", "--compare=separable", "--format=csv")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 14
    assert rows[1]["layer"] == "block_01/depthwise + pointwise"
    assert float(rows[1]["ratio"]) == pytest.approx(1 / 64 + 1 / 9, abs=1e-6)
    _, table, _ = cost("--preset=mobilenet_v1", "--compare=separable")
    assert "Ratio: 1/N + 1/k^2" in table


def test_memory_whole_and_in_pieces(tmp_path):
    (tmp_path / "small.py").write_text(small.CONFIG)
    out = tmp_path / "out"
    flags = (f"--config={tmp_path}/small.py", "--memory")
    status, printed, err = cost(*flags, "--format=json", f"--out={out}")
    assert status == 0, err
    rows = list(csv.DictReader(io.StringIO((out / "memory.csv").read_text())))
    assert len(json.loads(printed)["memory"]) == len(rows)
    by_cut = {row["cut"]: row for row in rows if row["part"] == "network"}
    assert [*by_cut] == [*memory.CUTS]
    assert by_cut["whole"]["time"] == "1.000"
    assert by_cut["channels:t"]["madds"] == by_cut["whole"]["madds"] < by_cut["patches:2"]["madds"]
    files = {str(path.relative_to(out)) for path in out.rglob("*.*")}
    assert files == {"memory.csv", "environment.json", "figures/memory.svg", "figures/memory.png"}
    assert "--memory" in json.loads((out / "environment.json").read_text())["command"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset=v3"], "--preset='v3': expected one of mobilenet_v2, "),
        (
            ["--config=configs/digits.py", "--config.model.kernel_size=1001"],
            "config.model.kernel_size=1001: expected at most 31",
        ),
        (["--width=0"], "--width=0.0: expected a number above 0, at most 10"),
        (["--resolution=0"], "--resolution=0: expected a whole number, 1 or more"),
        (["--resolution=wide"], "flag --resolution=wide: "),
        (["--block=lego"], "--block='lego': expected FILE.py:CLASS or one of"),
        (["--format=xml"], "flag --format=xml: value should be one of <table|csv|json>"),
        (["--compare=wings"], "flag --compare=wings: value should be one of <separable>"),
        (
            ["--config=configs/digits.py", "--width=1", "--block=fused"],
            "--width, --block: not beside --config; expected --config.model.KEY=VALUE",
        ),
        (["--config=configs/digits.py", "--config.model.block=lego"], "config.model.block='lego'"),
        (["--out=x"], "--out=x: expected --memory beside it"),
        (["--memory", "--compare=separable"], "--compare=separable: not beside --memory"),
        (["--config=configs/none.py"], "--config=configs/none.py: no such file"),
    ],
)
def test_wrong_input_gives_one_line_and_status_2(arguments, message):
    status, out, err = cost(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m experiments.cost: {message}"), err
    assert len(err.splitlines()) == 1
