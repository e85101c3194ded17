import json

import numpy as np
import pandas as pd
import pytest

from mnv2_jax.analysis import means
from mnv2_jax.analysis.axes import View
from mnv2_jax.analysis.charts.accuracy import accuracy
from tests.analysis.charts.drawn import channel, layers, note, titles, whole, words
from tests.analysis.synthetic import RATE, make_frame, make_sections, make_transfers, stop


def chart_of(frame, view, metric="test_accuracy"):
    chart = accuracy(frame, view, metric)
    assert chart is not None
    return chart


def with_values(column, values, seeds=3):
    """Runs that differ in one column and the seed."""
    frame = make_frame((6,), ("linear",), ("none",), seeds)
    rng = np.random.default_rng(0)
    runs = [frame.assign(**{column: [value] * len(frame)}) for value in values]
    together = pd.concat(runs, ignore_index=True)
    return together.assign(test_accuracy=rng.uniform(0.5, 0.9, len(together)))


def two_widths():
    frame = make_frame((1, 6), ("linear",), ("none",), seeds=4)
    wide = frame.assign(width=1.4, test_accuracy=frame["test_accuracy"] ** 2)
    return pd.concat([frame, wide], ignore_index=True)


def ticks(chart):
    """The labels below x, as Vega's expression gives them."""
    axis = channel(chart, "x")["axis"]
    if "labelExpr" not in axis:
        return [f"{value:.6g}" for value in axis["values"]]
    names = json.loads(axis["labelExpr"].removesuffix("[datum.value]"))
    return [name if isinstance(name, str) else "\n".join(name) for name in names]


def test_means_and_intervals_are_over_seeds_averaged_first():
    frame = two_widths()
    chart = chart_of(frame, View("expansion"))
    assert len(whole(chart, "point")) == 8
    for expansion, runs in frame.groupby("expansion"):
        per_seed = 100 * runs.groupby("seed")["test_accuracy"].mean()
        interval = means.t_interval(per_seed.to_numpy(), 0.95)
        (mean,) = whole(chart, "mean", x=expansion)
        found = [mean["y"], mean["low"], mean["high"]]
        expected = [interval.estimate, interval.low, interval.high]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        points = [point["y"] for point in whole(chart, "point", x=expansion)]
        np.testing.assert_allclose(sorted(points), sorted(per_seed), atol=1e-4)


def test_an_averaged_axis_has_means_of_each_of_its_values_for_the_filters():
    frame = two_widths()
    chart = chart_of(frame, View("expansion"))
    parts = [row for row in chart.rows if "of" in chart.sets[row["set"]] and row["part"] == "mean"]
    assert len(parts) == 4
    for row in parts:
        one = chart.sets[row["set"]]
        runs = frame.loc[one["runs"]]
        assert runs["width"].nunique() == 1
        assert set(one["runs"]) < set(chart.sets[one["of"]]["runs"])
        assert row["y"] == pytest.approx(100 * runs["test_accuracy"].mean(), abs=1e-4)
    assert not [one for one in chart_of(frame, View("expansion", "width")).sets if "of" in one]
    # Those may lie where the means of all do not: the page then makes room.
    (low, high), (lowest, highest) = chart.spec["usermeta"]["ends"]
    assert [low, high] == [param["value"] for param in chart.spec["params"]]
    assert lowest < low
    assert high < highest
    points = [row["y"] for row in chart.rows]
    assert lowest < min(points) < low


def test_numbers_below_zero_have_labels_where_there_are_any():
    frame = two_widths()
    drop = frame.assign(test_accuracy=frame["test_accuracy"] - 0.9)
    labels = [channel(chart_of(one, View("width")), "y")["axis"] for one in (frame, drop)]
    assert ["< 0" in axis["labelExpr"] for axis in labels] == [True, False]


def test_the_note_says_what_is_averaged_over_and_what_is_missing():
    frame = two_widths()
    stop(frame, 0)
    assert note(chart_of(frame, View("expansion"))) == (
        "Bands are 95 % t intervals over seeds. Averaged over width multiplier. "
        "1 of 16 runs did not finish and are left out. "
        "At expansion 1 blocks have no expansion layer: that network is shallower."
    )
    assert "Averaged" not in note(chart_of(frame, View("expansion", "width")))
    one_seed = two_widths().query("seed == 0 and expansion > 1")
    assert note(chart_of(one_seed.reset_index(drop=True), View("width"))) == ""
    bars = chart_of(make_frame((6,), seeds=2), View("projection", "shortcut"))
    assert note(bars) == "Bars are 95 % t intervals over seeds."


@pytest.mark.parametrize(
    ("metric", "label", "unit", "y"),
    [
        ("test_loss", "Test loss", "nats", 0.25),
        ("test_top5_accuracy", "Test top-5 accuracy", "%", 25),
        ("seconds", "Training time", "s", 0.25),
    ],
)
@pytest.mark.parametrize("x", ["expansion", "madds"])
def test_every_measure_is_drawn_in_its_unit(metric, label, unit, y, x):
    chart = chart_of(make_frame(seeds=2).assign(**{metric: 0.25}), View(x), metric)
    assert {row["y"] for row in whole(chart, "mean")} == {y}
    assert channel(chart, "y")["title"] == f"{label} ({unit})"
    assert chart.heading.startswith(f"{label} over ")


def test_an_axis_that_does_not_vary_is_one_line_or_one_panel():
    chart = chart_of(make_frame(seeds=2), View("width", "block", ("dataset", "epochs")))
    assert channel(chart, "color")["scale"]["domain"] == ["inverted_residual"]
    assert titles(chart) == ["digits, Epochs 5"]


@pytest.mark.parametrize(
    ("values", "kind", "labels"),
    [
        ((1, 2, 4, 6, 8, 10), "linear", ["1", "2", "4", "6", "8", "10"]),
        ((0.35, 0.5, 0.75, 1.0), "linear", ["0.35", "0.5", "0.75", "1"]),
        ((0.001, 0.01, 0.1), "log", ["0.001", "0.01", "0.1"]),
        ((0.02, 0.05, 0.1, 0.2, 0.5), "log", ["0.02", "0.05", "0.1", "0.2", "0.5"]),
        # A 0 has no logarithm.
        ((0, 1e-5, 1e-4, 1e-3), "places", ["0", "1e-05", "0.0001", "0.001"]),
        ((0.1,), "linear", ["0.1"]),
    ],
)
def test_numbers_lie_where_they_can_be_told_apart(values, kind, labels):
    chart = chart_of(with_values("train.rate", values), View("train.rate"))
    assert channel(chart, "x")["scale"].get("type", "places") == kind
    assert ticks(chart) == labels
    means = whole(chart, "mean")
    assert len(means) == len(values)
    assert {row["kind"] for row in means} == {"band" if len(values) > 1 else "bar"}


def test_ticks_do_not_crowd():
    chart = chart_of(with_values("train.rate", range(1, 61), 2), View("train.rate"))
    assert channel(chart, "x")["axis"]["tickCount"] == 6


@pytest.mark.parametrize("values", [("a", "b", "c"), (False, True)], ids=["text", "truth"])
def test_names_have_places_and_are_not_joined(values):
    chart = chart_of(with_values("model.kind", values), View("model.kind"))
    assert ticks(chart) == list(map(str, values))
    means = whole(chart, "mean")
    assert [row["x"] for row in means] == list(range(len(values)))
    assert {row["kind"] for row in means} == {"bar"}


def test_long_names_do_not_run_into_each_other():
    names = [f"an_unusually_long_name_{letter}" for letter in "abcdef"]
    chart = chart_of(with_values("model.kind", names), View("model.kind"))
    assert channel(chart, "x")["axis"]["labelAngle"] == -30
    few = chart_of(make_frame((6,), seeds=2), View("shortcut"))
    assert ticks(few) == ["Shortcut between\nbottlenecks", "No shortcut"]
    assert "labelAngle" not in channel(few, "x")["axis"]


def test_hues_of_one_place_stand_side_by_side():
    chart = chart_of(make_frame((6,), seeds=3), View("projection", "shortcut"))
    bottleneck, none = (
        whole(chart, "mean", at="Linear", hue=hue)[0]["x"]
        for hue in ("Shortcut between bottlenecks", "No shortcut")
    )
    assert none - bottleneck > 0.1


def test_one_seed_has_no_interval_and_still_a_point():
    chart = chart_of(make_frame((1, 6), ("linear",), ("none",), seeds=1), View("expansion"))
    assert [row["low"] for row in whole(chart, "mean")] == [None, None]
    assert len(whole(chart, "point")) == 2
    assert "intervals" not in note(chart)


def test_a_wide_interval_of_two_seeds_does_not_flatten_the_rest():
    frame = make_frame((1, 6), ("linear",), ("none",), seeds=2)
    frame["test_accuracy"] = [0.90, 0.95, 0.91, 0.93]  # The first interval spans 64 points.
    chart = chart_of(frame, View("expansion"))
    low, high = (param["value"] for param in chart.spec["params"])
    assert 85 < low < 90
    assert 95 < high <= 101
    # Intervals alone may leave the axis.
    assert {one["mark"]["type"] for one in layers(chart) if one["mark"].get("clip")} == {
        *("area", "rule")
    }
    assert all(low < row["y"] < high for row in chart.rows)


def test_panels_are_combinations_of_values_and_name_their_axis():
    chart = chart_of(
        make_frame((1, 2), seeds=2), View("projection", None, ("shortcut", "expansion"))
    )
    assert titles(chart) == [
        f"{shortcut}, Expansion {expansion}"
        for shortcut in ("Shortcut between bottlenecks", "No shortcut")
        for expansion in (1, 2)
    ]
    assert {row["panel"] for row in chart.rows} == set(titles(chart))


def test_pretraining_is_left_out_where_the_phase_is_not_shown():
    frame = make_transfers()
    easy = frame["transfer.phase"] == "pretraining"  # It alone reaches 100 %.
    frame = frame.assign(test_accuracy=frame["test_accuracy"].where(~easy, 1.0))
    without = chart_of(frame, View("projection"))
    assert max(row["y"] for row in without.rows) < 100
    assert "Pretraining, on other classes, is left out." in note(without)
    with_phase = chart_of(frame, View("projection", "transfer.phase"))
    assert max(row["y"] for row in with_phase.rows) == 100
    assert "is left out" not in note(with_phase)
    assert "Pretraining (other classes)" in words(with_phase)


def test_runs_without_a_section_are_not_drawn_over_it():
    chart = chart_of(make_sections(), View("transfer.phase", RATE))
    assert "Runs without extraction: learning rate are left out." in note(chart)
    assert {row["at"] for row in whole(chart, "mean")} == {"Feature extraction", "Fine-tuning"}
    bases = make_sections().query("`transfer.phase` == 'scratch'").reset_index(drop=True)
    assert accuracy(bases, View("transfer.phase", RATE)) is None


def test_all_images_of_a_class_are_called_all_and_lie_behind_every_number():
    images = "transfer.images_per_class"
    frame = make_frame(expansions=(6,), shortcuts=("none",), seeds=2)
    parts = [(0, 0.9), (5, 0.7), (10, 0.8)]
    runs = [frame.assign(**{images: count, "test_accuracy": mean}) for count, mean in parts]
    chart = chart_of(pd.concat(runs, ignore_index=True), View(images))
    assert ticks(chart) == ["5", "10", "all"]
    means = whole(chart, "mean")
    assert sorted((row["x"], row["y"]) for row in means) == [(0, 70), (1, 80), (2, 90)]
    assert {row["kind"] for row in means} == {"band"}
