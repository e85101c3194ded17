import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import FillBetweenPolyCollection, PathCollection

from mnv2_jax.analysis import stats
from mnv2_jax.analysis.figures.accuracy import accuracy
from mnv2_jax.analysis.figures.axes import View
from mnv2_jax.analysis.figures.style import drawing
from tests.analysis.synthetic import make_frame, stop


def drawn(frame, view, metric="test_accuracy"):
    with drawing():
        figure = accuracy(frame, view, metric)
        figure.draw_without_rendering()
    return figure


def with_values(column, values, seeds=3):
    """Runs that differ in one column and the seed."""
    frame = make_frame((6,), ("linear",), ("none",), seeds)
    rng = np.random.default_rng(0)
    runs = [frame.assign(**{column: [value] * len(frame)}) for value in values]
    together = pd.concat(runs, ignore_index=True)
    return together.assign(test_accuracy=rng.uniform(0.5, 0.9, len(together)))


def of_kind(axis, kind):
    return [artist for artist in axis.collections if isinstance(artist, kind)]


def ticks(axis):
    low, high = axis.get_xlim()
    labels = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    return [label.get_text() for tick, label in labels if low <= tick <= high]


def two_widths():
    frame = make_frame((1, 6), ("linear",), ("none",), seeds=4)
    wide = frame.assign(width=1.4, test_accuracy=frame["test_accuracy"] ** 2)
    return pd.concat([frame, wide], ignore_index=True)


def test_the_band_is_the_t_interval_over_seeds_averaged_first():
    frame = two_widths()
    (axis,) = drawn(frame, View("expansion")).axes
    (points,) = of_kind(axis, PathCollection)
    assert len(points.get_offsets()) == 8
    (band,) = of_kind(axis, FillBetweenPolyCollection)
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.round(9)}
    for expansion, runs in frame.groupby("expansion"):
        per_seed = 100 * runs.groupby("seed")["test_accuracy"].mean()
        interval = stats.t_interval(per_seed.to_numpy(), 0.95)
        assert (expansion, round(interval.low, 9)) in corners
        assert (expansion, round(interval.high, 9)) in corners
        at = points.get_offsets()[points.get_offsets()[:, 0] == expansion][:, 1]
        np.testing.assert_allclose(sorted(at), sorted(per_seed))


def test_the_note_says_what_is_averaged_over_and_what_is_missing():
    frame = two_widths()
    stop(frame, 0)
    note = drawn(frame, View("expansion")).get_supxlabel()
    assert " ".join(note.split()) == (
        "Bands are 95 % t intervals over seeds. Averaged over width multiplier. "
        "1 of 16 runs did not finish and are left out."
    )
    assert "Averaged" not in drawn(frame, View("expansion", "width")).get_supxlabel()
    one_seed = two_widths().query("seed == 0")
    assert drawn(one_seed, View("expansion", None, ("width",))).get_supxlabel() == ""
    assert drawn(two_widths(), View("width", None, ("expansion",))).get_supxlabel() == (
        "Bands are 95 % t intervals over seeds."
    )
    bars = drawn(make_frame((6,), seeds=2), View("projection", "shortcut")).get_supxlabel()
    assert bars == "Bars are 95 % t intervals over seeds."


@pytest.mark.parametrize("metric", ["validation_accuracy", "train_accuracy"])
def test_other_metrics(metric):
    frame = make_frame(seeds=2).assign(**{metric: 0.25})
    axis = drawn(frame, View("expansion"), metric).axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), 25)
    assert metric.split("_")[0][:5] in axis.get_ylabel().lower()


@pytest.mark.parametrize(
    ("values", "kind", "labels"),
    [
        ((1, 2, 4, 6, 8, 10), "linear", ["1", "2", "4", "6", "8", "10"]),
        ((0.35, 0.5, 0.75, 1.0), "linear", ["0.35", "0.5", "0.75", "1"]),
        ((0.001, 0.01, 0.1), "log", ["0.001", "0.01", "0.1"]),
        ((0.02, 0.05, 0.1, 0.2, 0.5), "log", ["0.02", "0.05", "0.1", "0.2", "0.5"]),
        # A 0 has no logarithm.
        ((0, 1e-5, 1e-4, 1e-3), "linear", ["0", "1e-05", "0.0001", "0.001"]),
        ((0.1,), "linear", ["0.1"]),
    ],
)
def test_numbers_lie_where_they_can_be_told_apart(values, kind, labels):
    (axis,) = drawn(with_values("train.rate", values), View("train.rate")).axes
    assert axis.get_xscale() == kind
    assert ticks(axis) == labels
    places = np.asarray(axis.transData.transform([(x, 0) for x in axis.get_xticks()]))[:, 0]
    assert len(places) == 1 or np.diff(places).min() > 0.05 * np.ptp(places)
    assert len(axis.lines[-1].get_xdata()) == len(values)


def test_ticks_do_not_crowd():
    (axis,) = drawn(with_values("train.rate", range(1, 61), 2), View("train.rate")).axes
    assert 3 <= len(ticks(axis)) <= 10


@pytest.mark.parametrize("values", [("a", "b", "c"), (False, True)], ids=["text", "truth"])
def test_names_have_places_and_are_not_joined(values):
    (axis,) = drawn(with_values("model.kind", values), View("model.kind")).axes
    assert ticks(axis) == list(map(str, values))
    means = axis.lines[-1]
    assert means.get_linestyle() == "None"
    assert list(means.get_xdata()) == list(range(len(values)))
    assert not of_kind(axis, FillBetweenPolyCollection)


def test_long_names_do_not_run_into_each_other():
    names = [f"an_unusually_long_name_{letter}" for letter in "abcdef"]
    (axis,) = drawn(with_values("model.kind", names), View("model.kind")).axes
    assert {label.get_rotation() for label in axis.get_xticklabels()} == {30}
    few = drawn(make_frame((6,), seeds=2), View("shortcut")).axes[0]
    assert "Shortcut between\nbottlenecks" in ticks(few) or ticks(few)[0].startswith("Shortcut")
    assert {label.get_rotation() for label in few.get_xticklabels()} == {0}


def test_hues_of_one_place_stand_side_by_side():
    (axis,) = drawn(make_frame((6,), seeds=3), View("projection", "shortcut")).axes
    bottleneck, none = (line.get_xdata() for line in axis.lines if line.get_label()[0] != "_")
    assert (np.asarray(none) - np.asarray(bottleneck) > 0.1).all()


def test_one_seed_has_no_interval_and_still_a_point():
    frame = make_frame((1, 6), ("linear",), ("none",), seeds=1)
    (axis,) = drawn(frame, View("expansion")).axes
    assert len(axis.lines[0].get_ydata()) == 2
    (bars,) = drawn(frame, View("projection")).axes[0].collections[1:]
    assert not any(len(segment) for segment in bars.get_segments())


def test_a_wide_interval_of_two_seeds_does_not_flatten_the_rest():
    frame = make_frame((1, 6), ("linear",), ("none",), seeds=2)
    frame["test_accuracy"] = [0.90, 0.95, 0.91, 0.93]  # The first interval spans 64 points.
    low, high = drawn(frame, View("expansion")).axes[0].get_ylim()
    assert 85 < low < 90
    assert 95 < high <= 101


def test_panels_wrap_and_every_column_has_a_label_at_its_foot():
    frame = make_frame((1, 2, 4, 6, 8), seeds=2)
    axes = drawn(frame, View("projection", None, ("expansion",))).axes
    titles = [axis.get_title(loc="left") for axis in axes if axis.get_visible()]
    assert titles == [f"Expansion {t}" for t in (1, 2, 4, 6, 8)]
    assert [axis.get_xlabel() for axis in axes[:5]] == ["", "", *["Projection"] * 3]
    assert [axis.get_ylabel() != "" for axis in axes[:5]] == [True, False, False, True, False]


@pytest.mark.parametrize("count", [8, 30])
def test_many_hues_have_a_legend_beside_the_panels_that_is_not_cut(count):
    frame = with_values("model.kind", [f"kind {number}" for number in range(count)], 2)
    figure = drawn(frame, View("expansion", "model.kind"))
    (legend,) = figure.legends
    box, (axis,) = legend.get_window_extent(), figure.axes
    assert len(legend.get_texts()) == count
    assert box.x0 >= axis.get_window_extent().x1
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= 0
