import numpy as np
import pytest

from mnv2_jax.analysis.charts.paper import paper_figure_6, published_curves
from tests.analysis.charts.drawn import curves_of, note, whole
from tests.analysis.synthetic import make_frame

# Read out of the figure with all of its points: means over 0.25 million steps before and after 2 to
# 6 million, and from 6 to 7. Where the axis cuts a curve off there is no telling.
STEPS = (2, 3, 4, 5, 6)
MEANS = {
    ("linear", "bottleneck"): (68.68, 69.96, 70.52, 70.92, 71.04, 71.05),
    ("relu6", "bottleneck"): (67.68, 69.04, 69.83, 70.28, 70.45, 70.43),
    ("linear", "expansion"): (67.13, 68.79, 69.73, 70.29, 70.55, 70.57),
    ("linear", "none"): (None, 66.94, 68.22, 68.95, 69.43, 69.55),
}


# The last of each panel, as it is called there.
LAST = {
    "6a": ("ReLU6", ("relu6", "bottleneck")),
    "6b": ("Shortcut between expansions", ("linear", "expansion")),
}


@pytest.mark.parametrize(("kind", "means"), MEANS.items())
def test_the_curves_have_the_figures_means(kind, means):
    curves = published_curves()
    assert set(zip(curves["projection"], curves["shortcut"], strict=True)) == set(MEANS)
    curve = curves[(curves["projection"] == kind[0]) & (curves["shortcut"] == kind[1])]
    steps = curve["steps_millions"]
    parts = [steps.between(at - 0.25, at + 0.25) for at in STEPS] + [steps.between(6, 7)]
    for part, mean in zip(parts, means, strict=True):
        assert mean is None or curve["top1_percent"][part].mean() == pytest.approx(mean, abs=0.025)
    assert steps.is_monotonic_increasing
    assert steps.max() > 7


def chart_of(epochs=2, seeds=2, **grid):
    frame = make_frame(seeds=seeds, **grid)
    return paper_figure_6(frame, curves_of(frame, epochs))


def titles(chart):
    return [view["title"] for view in chart.spec["concat"]]


@pytest.mark.parametrize(
    ("grid", "compared"),
    [
        ({}, ["6a", "6b"]),
        ({"shortcuts": ("bottleneck",)}, ["6a"]),
        ({"projections": ("linear",)}, ["6b"]),
        ({"projections": ("linear",), "shortcuts": ("expansion", "none")}, ["6b"]),
        ({"shortcuts": ("none",)}, []),
        ({"projections": ("relu6",)}, []),
        ({"projections": ("linear", "relu"), "shortcuts": ("bottleneck",)}, []),
    ],
)
def test_only_what_was_compared_is_drawn(grid, compared):
    chart = chart_of(**grid)
    if not compared:
        assert chart is None
        return
    assert titles(chart)[::2] == [f"The paper, Figure {name}" for name in compared]
    published = published_curves().set_index(["projection", "shortcut"])["top1_percent"]
    for view, name in zip("02", compared, strict=False):
        shown = whole(chart, "mean", view=view, hue=LAST[name][0])
        assert [row["y"] for row in shown] == published[LAST[name][1]].tolist()


def test_without_learning_curves_there_is_nothing_beside_the_papers():
    frame = make_frame(seeds=2)
    assert paper_figure_6(frame, curves_of(frame).head(0)) is None


def test_ours_are_runs_like_the_papers():
    frame = make_frame(expansions=(2, 6), seeds=3)
    chart = paper_figure_6(frame, curves_of(frame))
    assert chart is not None
    assert titles(chart)[1] == "Ours, digits, t = 6, 3 seeds"
    at_six = frame[(frame["expansion"] == 6) & (frame["shortcut"] == "bottleneck")]
    means = 100 * at_six.groupby("projection")["test_accuracy"].mean()
    for hue, projection in (("Linear", "linear"), ("ReLU6", "relu6")):
        found = [row["y"] for row in whole(chart, "mean", view="1", hue=hue)]
        np.testing.assert_allclose(found, means[projection] * np.array([0.5, 1]), atol=1e-3)
    assert "Averaged" not in note(chart)


def test_the_first_quarter_of_training_is_left_out():
    chart = chart_of(epochs=12, expansions=(6,))
    for view in ("1", "3"):
        assert min(row["x"] for row in whole(chart, "mean", view=view)) == 3


def test_without_the_papers_expansion_the_others_are_averaged_and_that_is_said():
    chart = chart_of(expansions=(2, 4))
    assert titles(chart)[1] == "Ours, digits, 2 seeds"
    assert "Averaged over expansion." in note(chart)


def test_what_a_variant_looks_like_is_the_same_on_both_sides():
    views = chart_of(shortcuts=("bottleneck", "none", "expansion")).spec["concat"][2:]
    theirs, ours = (view["layer"][4]["encoding"] for view in views)
    for look in ("color", "strokeDash"):
        assert theirs[look] == ours[look]
    assert len(theirs["color"]["scale"]["domain"]) == 3


def test_transfers_are_nothing_beside_the_papers():
    frame = make_frame()
    frame["transfer.phase"] = "finetuning"
    assert paper_figure_6(frame, curves_of(frame)) is None
