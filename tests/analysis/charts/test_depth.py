"""Measures of bottlenecks over depth."""

import altair
import numpy as np
import pandas as pd
import pytest

from mnv2_jax.analysis import block_tables, means, tables
from mnv2_jax.analysis.charts import make_charts
from mnv2_jax.analysis.charts.chart import CONFIG
from mnv2_jax.analysis.charts.depth import PANELS, depth
from tests.analysis.blocks import CHANNELS, DEPTH, TABLE, active_of, write_blocks
from tests.analysis.charts.drawn import channel, curves_of, note, titles, whole, words
from tests.analysis.synthetic import make_frame, stop, write_workdir


def drawn(tmp_path, frame, measured=None):
    """The results of runs with the measures of some of them."""
    workdir = write_workdir(tmp_path / "work", frame)
    write_blocks(workdir, frame if measured is None else measured)
    frame = tables.read_results(workdir)
    return frame, block_tables.read(workdir, frame)


def chart_of(frame, blocks):
    chart = depth(frame, TABLE, blocks[TABLE])
    assert chart is not None
    return chart


def test_every_mean_and_interval_is_over_seeds(tmp_path):
    frame, blocks = drawn(tmp_path, make_frame(expansions=(2, 6), seeds=3))
    chart = chart_of(frame, blocks)
    assert titles(chart) == [*PANELS.values()]
    for number in range(1, DEPTH + 1):
        (found,) = whole(chart, "mean", panel="Active channels", hue="ReLU6", x=number)
        runs = frame[frame["projection"] == "relu6"]
        shares = [100 * active_of(row, number) / CHANNELS for _, row in runs.iterrows()]
        by_seed = runs.assign(share=shares).groupby("seed")["share"].mean().to_numpy()
        expected = means.t_interval(by_seed, 0.95)
        numbers = [found[name] for name in ("y", "low", "high", "seeds")]
        wanted = [expected.estimate, expected.low, expected.high, 3]
        np.testing.assert_allclose(numbers, wanted, atol=1e-4)
        assert found["at"] == f"{number}, block_0{number}"
    for panel, share in (
        ("Dead channels", 100 / CHANNELS),
        ("Effective rank before the activation", 75),
        ("Effective rank after the activation", 50),
        ("Input decodable from output", -5),
    ):
        assert {row["y"] for row in whole(chart, "mean", panel=panel)} == {share}
    places = {row["x"] for row in whole(chart, "mean", panel=PANELS["positive_min"])}
    assert places == {2, 3}  # The first block does not expand.
    assert channel(chart, "color")["scale"]["domain"] == ["Linear", "ReLU6"]
    assert channel(chart, "x")["title"] == "Block"
    assert channel(chart, "y")["title"] == "Share (%)"
    assert "Averaged over shortcut and expansion." in note(chart)
    assert note(chart).startswith("Measured on validation images, in inference mode.")


def test_lines_differ_in_slope_and_bias_of_a_projection_too(tmp_path):
    frame = make_frame(expansions=(6,), seeds=2)
    frame["model.projection_bias"] = 0.0
    biased = frame[frame["projection"] == "relu6"].assign(**{"model.projection_bias": 3.0})
    biased["run_id"] = "b" + biased["run_id"]
    chart = chart_of(*drawn(tmp_path, pd.concat([frame, biased], ignore_index=True)))
    color = channel(chart, "color")
    assert color["scale"]["domain"] == ["Linear, bias 0", "ReLU6, bias 0", "ReLU6, bias 3"]
    assert color["legend"]["title"] is None
    assert "Averaged over shortcut." in note(chart)
    assert "Points differ" not in note(chart)


def test_it_is_valid_drawn_and_among_the_charts(tmp_path):
    frame, blocks = drawn(tmp_path, make_frame(expansions=(6,), seeds=2))
    charts = make_charts(frame, curves_of(frame), [], [], blocks)
    chart = charts["bottlenecks"]
    altair.Chart.from_dict({**chart.spec, "config": CONFIG}, validate=True)
    assert "Active channels" in words(chart)
    assert "NaN" not in chart.svg()
    write_blocks(tmp_path / "work", frame, "test_bottlenecks")
    blocks = block_tables.read(tmp_path / "work", tables.read_results(tmp_path / "work"))
    names = [*make_charts(frame, curves_of(frame), [], [], blocks)]
    assert names[-2:] == ["bottlenecks", "bottlenecks_2"]


@pytest.mark.parametrize("projections", [("linear",), ("linear", "relu6")])
def test_one_seed_has_means_without_bands(tmp_path, projections):
    one = make_frame(expansions=(6,), projections=projections, shortcuts=("none",), seeds=1)
    chart = chart_of(*drawn(tmp_path, one))
    rows = whole(chart, "mean")
    assert rows
    assert {row["low"] for row in rows} == {None}
    assert chart.svg()


def test_runs_without_measures_are_left_out_and_counted(tmp_path):
    frame = make_frame(expansions=(6,), seeds=2)
    stop(frame, 0)
    chart = chart_of(*drawn(tmp_path, frame, frame.iloc[2:]))
    assert "1 of 8 runs did not finish" in note(chart)
    assert "1 of 7 runs were not measured." in note(chart)
    assert {row["hue"] for row in chart.rows} == {"Linear", "ReLU6"}
    for index in frame.index:
        stop(frame, index)
    empty, blocks = drawn(tmp_path / "none", frame)
    assert depth(empty, TABLE, blocks[TABLE]) is None


def test_tables_of_other_measures_have_no_chart(tmp_path):
    frame, blocks = drawn(tmp_path, make_frame(expansions=(6,), seeds=2))
    other = blocks[TABLE]._replace(columns={"largest": None})
    assert "bottlenecks" not in make_charts(frame, curves_of(frame), [], [], {"own": other})
