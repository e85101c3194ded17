"""A measure over a measure: a point per run, and the rank correlation."""

import numpy as np
import pytest

from mnv2_jax.analysis import tables
from mnv2_jax.analysis.associations import associations
from mnv2_jax.analysis.axes import View
from mnv2_jax.analysis.charts.scatter import scatter
from tests.analysis.charts.drawn import layers, note, titles, whole, words
from tests.analysis.evaluations import COLUMNS, DROP, RATIO, with_measures, write_evaluations
from tests.analysis.synthetic import make_frame, make_transfers, stop, write_workdir


def chart_of(frame, view, metric):
    chart = scatter(frame, view, metric)
    assert chart is not None
    return chart


def channel(chart, name):
    (points,) = layers(chart)
    return points["encoding"][name]


def test_every_run_is_a_point_in_its_panel_and_colour():
    frame = with_measures(make_frame(expansions=(1, 6), seeds=3))
    chart = chart_of(frame, View("test_loss", "projection", ("shortcut",)), "test_accuracy")
    assert {row["part"] for row in chart.rows} == {"point"}
    assert len(chart.rows) == len(frame)
    for row in chart.rows:
        (position,) = chart.sets[row["set"]]["runs"]
        run = frame.loc[position]
        assert (row["x"], row["seed"]) == (pytest.approx(run["test_loss"], abs=1e-6), run["seed"])
        assert row["y"] == pytest.approx(100 * run["test_accuracy"])
        assert row["hue"] == {"linear": "Linear", "relu6": "ReLU6"}[run["projection"]]
    assert titles(chart) == ["Shortcut between bottlenecks", "No shortcut"]
    assert len(whole(chart, "point", panel="No shortcut", hue="ReLU6")) == 6
    assert chart.heading == "Test accuracy over test loss"
    assert {"Test loss (nats)", "Test accuracy (%)"} <= {channel(chart, c)["title"] for c in "xy"}
    assert "Points differ in expansion too." in note(chart)
    assert "Linear" in words(chart)


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [((1, 31), "log"), ((1, 9), "linear"), ((0, 31), "linear"), ((-1, 31), "linear")],
)
def test_x_is_logarithmic_where_positive_values_span_much(numbers, kind):
    frame = with_measures(make_frame((6,), ("linear",), ("none",), seeds=2))
    frame[RATIO] = [float(number) for number in numbers]
    x = channel(chart_of(frame, View(RATIO), "test_accuracy"), "x")
    assert (x["scale"]["type"], x["scale"]["domain"]) == (kind, list(numbers))
    if kind == "log":
        assert x["axis"]["values"] == [1, 2, 5, 10, 20]


def test_a_note_has_the_rank_correlation_of_the_runs_that_are_drawn():
    frame = with_measures(make_frame(expansions=(1, 2, 6), seeds=4))
    (found,) = associations(frame, [RATIO], DROP)
    both = [
        f"{one.estimate:+.2f} [{one.low:+.2f}, {one.high:+.2f}]".replace("-", "−")
        for one in (found.rank_correlation, found.within)
    ]
    said = note(chart_of(frame, View(RATIO), DROP))
    assert f"rank correlation: {both[0]} over 48 runs, {both[1]} of ranks within cells" in said
    assert "95 % intervals that resample 4 seeds; with so few they are too narrow." in said
    one_seed = note(chart_of(frame[frame["seed"] == 0], View(RATIO), DROP))
    assert "intervals" not in one_seed
    assert "within" not in one_seed
    constant = note(chart_of(frame.assign(**{RATIO: 1.0}), View(RATIO), DROP))
    assert "correlation" not in constant


def test_runs_that_lack_a_measure_are_left_out_and_told():
    frame = with_measures(make_frame(expansions=(6,), seeds=2))
    stop(frame, 0)
    frame.loc[[1, 2], RATIO] = np.nan
    frame.loc[3, DROP] = np.nan
    chart = chart_of(frame, View(RATIO, "projection"), DROP)
    assert sorted(chart.sets[row["set"]]["runs"][0] for row in chart.rows) == [4, 5, 6, 7]
    assert "over 4 runs" in note(chart)
    assert "1 of 8 runs did not finish and are left out." in note(chart)
    assert "3 of 7 finished runs lack a measure and are left out." in note(chart)
    assert scatter(frame.assign(**{RATIO: np.nan}), View(RATIO), DROP) is None


def test_pretraining_is_left_out():
    frame = make_transfers()
    chart = chart_of(frame, View("test_loss"), "test_accuracy")
    assert len(chart.rows) == (frame["transfer.phase"] != "pretraining").sum()
    assert "Pretraining, on other classes, is left out." in note(chart)


def test_measures_of_side_tables_have_their_units_and_negative_numbers_labels(tmp_path):
    frame = make_frame(expansions=(6,), seeds=2)
    write_workdir(tmp_path, frame)
    write_evaluations(tmp_path, frame)
    joined = tables.read_results(tmp_path)
    chart = chart_of(joined, View(RATIO), DROP)
    y = channel(chart, "y")
    assert y["title"] == f"{COLUMNS[DROP].label} (%)"
    assert min(row["y"] for row in chart.rows) < 0
    assert "< 0" not in y["axis"]["labelExpr"]
    swapped = chart_of(joined, View(DROP), "test_accuracy")
    drops = 100 * joined[DROP]
    assert channel(swapped, "x")["scale"]["domain"] == pytest.approx([drops.min(), drops.max()])
    assert "< 0" in channel(swapped, "y")["axis"]["labelExpr"]
