"""Figures from the command line."""

import html
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from mnv2_jax import schema
from tests import commands
from tests.analysis.evaluations import DROP, RATIO, write_evaluations
from tests.analysis.synthetic import make_frame, stop

pytestmark = pytest.mark.slow

DIGITS = commands.ROOT / "experiments" / "results" / "digits"


def plot(*arguments):
    return commands.run("plot", *arguments)


@pytest.fixture
def digits(tmp_path):
    """A folder of committed results: no curves, no figures."""
    shutil.copy(DIGITS / "results.csv", tmp_path)
    return tmp_path


def words(path):
    texts = re.findall(r"<text[^>]*>(.*?)</text>", path.read_text(), re.DOTALL)
    return [" ".join(re.findall(r"[^<>]*\w[^<>]*(?=<|$)", text)) for text in texts]


def test_svg_and_png_of_committed_results(digits):
    flags = ("--x=expansion", "--hue=projection", "--panel=shortcut")
    status, out, err = plot(f"--workdir={digits}", *flags)
    assert (status, err) == (0, "")
    svg, png = map(Path, out.splitlines())
    assert svg == digits / "figures" / "expansion_projection_shortcut.svg"
    assert png == svg.with_suffix(".png")
    assert {"Linear", "ReLU6", "No shortcut", "Expansion t", "Test accuracy (%)"} <= set(words(svg))
    with Image.open(png) as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=1)
        assert image.width > 1000
    before = svg.read_bytes(), png.read_bytes()
    plot(f"--workdir={digits}", *(flag.replace("=", "=model.") for flag in flags))
    assert (svg.read_bytes(), png.read_bytes()) == before


def test_one_file_of_another_metric_with_a_note(digits):
    path = digits / "elsewhere" / "figure.png"
    arguments = ("--x=projection", "--metric=validation_accuracy", f"--output={path}")
    status, out, err = plot(f"--workdir={digits}", *arguments)
    assert (status, out, err) == (0, f"{path}\n", "")
    svg = path.with_suffix(".svg")
    plot(f"--workdir={digits}", *arguments[:2], f"--output={svg}")
    note = "Means are of seeds that all averaged runs have. Averaged over shortcut and expansion."
    assert note in " ".join(words(svg))
    assert "Validation accuracy (%)" in words(svg)


def test_fields_and_metrics_that_only_some_results_have(tmp_path):
    frame = make_frame(expansions=(1, 6), seeds=2)
    frame["train.learning_rate"] = [0.1, 0.2] * 8
    frame["test_brier"] = frame["test_accuracy"]
    frame.to_csv(tmp_path / "results.csv", index=False)
    brier = schema.Column(
        "test_brier", "number", "measure", "Test Brier score", "points", 2, "lower"
    )
    schema.write_columns(tmp_path, [brier])
    flags = ("--x=learning_rate", "--hue=expansion", "--metric=test_brier")
    status, out, err = plot(f"--workdir={tmp_path}", *flags)
    assert (status, err) == (0, "")
    svg, png = map(Path, out.splitlines())
    name = "train.learning_rate_expansion_test_brier"
    assert (svg.name, png.name) == (f"{name}.svg", f"{name}.png")
    assert "Test Brier score (points)" in words(svg)


def test_a_measure_over_a_measure_of_a_side_table(digits):
    write_evaluations(digits, pd.read_csv(digits / "results.csv", dtype={"run_id": str}))
    flags = (f"--x={RATIO}", f"--metric={DROP}", "--hue=projection")
    status, out, err = plot(f"--workdir={digits}", *flags)
    assert (status, err) == (0, "")
    svg, png = map(Path, out.splitlines())
    name = "test_precision_kernel_ratio_projection_test_precision_w4a4_drop"
    assert (svg, png.name) == (digits / "figures" / f"{name}.svg", f"{name}.png")
    assert "Spearman's rank correlation: " in html.unescape(" ".join(words(svg)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--x=expansion", "--hue=madds"], "--hue=madds: no such axis"),
        ([], "--x: it is missing; expected one of dataset, block"),
        (
            ["--x=width", "--metric=loss"],
            "--metric=loss: no such measure in these results; expected",
        ),
        (["--x=width", "--output=a.pdf"], "--output=a.pdf: expected a file that ends in .svg or"),
        (["--workdir="], "--workdir: expected a folder"),
        (["--workdir=nowhere"], "--workdir=nowhere: it is no folder; expected a folder that"),
        (["--workdir=configs"], "--workdir=configs: it holds no results.csv; expected a folder"),
    ],
)
def test_wrong_input_gives_one_line_and_status_2(arguments, message):
    status, out, err = plot(f"--workdir={DIGITS}", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m experiments.plot: {message}"), err
    assert len(err.splitlines()) == 1


def test_without_a_finished_run_there_is_no_figure(tmp_path):
    frame = make_frame(expansions=(6,), seeds=1)
    for index in frame.index:
        stop(frame, index)
    frame.to_csv(tmp_path / "results.csv", index=False)
    status, out, err = plot(f"--workdir={tmp_path}", "--x=expansion")
    assert (status, out) == (2, "")
    assert f"--workdir={tmp_path}: no run is done" in err


def test_a_file_in_the_way_of_the_figures(digits):
    (digits / "figures").write_text("")
    status, out, err = plot(f"--workdir={digits}", "--x=expansion")
    assert (status, out) == (2, "")
    assert err.startswith("python -m experiments.plot: --output: cannot be written (")
    assert len(err.splitlines()) == 1
