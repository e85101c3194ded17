import itertools

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.analysis.figures.axes import View, cost_view
from mnv2_jax.analysis.figures.cost import accuracy_over_cost
from mnv2_jax.analysis.figures.pareto import pareto_front
from mnv2_jax.analysis.figures.style import drawing
from tests.analysis.synthetic import make_frame

# Few values, so that there are ties.
POINTS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=12)


def beats(one, other):
    """Whether `one` is as cheap and as accurate as `other`, and better in one of the two."""
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(POINTS)
def test_the_front_against_brute_force(points):
    front = pareto_front([cost for cost, _ in points], [accuracy for _, accuracy in points])
    expected = [
        index
        for index, point in enumerate(points)
        if not any(beats(other, point) for other in points)
    ]
    assert sorted(front) == expected
    costs = [points[index][0] for index in front]
    assert costs == sorted(costs)


def drawn(frame, view=None):
    with drawing():
        figure = accuracy_over_cost(frame, view or cost_view(frame, "madds"))
        figure.draw_without_rendering()
    return figure


def note_of(figure):
    return " ".join(figure.get_supxlabel().split())


def flat(frame, **accuracies):
    """The frame with one accuracy per expansion and projection, the same for all seeds."""
    keys = frame["projection"] + frame["expansion"].map("{:g}".format)
    return frame.assign(test_accuracy=keys.map(accuracies))


def two_projections():
    frame = make_frame(expansions=(1, 2, 6), shortcuts=("none",), seeds=2)
    return flat(frame, linear1=0.5, linear2=0.4, linear6=0.9, relu61=0.3, relu62=0.6, relu66=0.2)


def test_members_are_named_and_joined_by_steps():
    (axis,) = drawn(two_projections()).axes
    assert [text.get_text() for text in axis.texts] == [
        "linear, t = 1",
        "ReLU6, t = 2",
        "linear, t = 6",
    ]
    (front,) = [line for line in axis.lines if line.get_label() == "Pareto front"]
    assert front.get_drawstyle() == "steps-post"
    assert list(front.get_ydata()) == [50, 60, 90, 90]


def test_a_member_is_named_in_its_own_panel_and_the_front_is_in_all():
    view = View("madds", None, ("projection",))
    linear, relu6 = drawn(two_projections(), view).axes
    assert [text.get_text() for text in relu6.texts] == ["ReLU6, t = 2"]
    assert [text.get_text() for text in linear.texts] == ["linear, t = 1", "linear, t = 6"]
    for axis in (linear, relu6):
        assert "Pareto front" in axis.get_legend_handles_labels()[1]


def test_what_all_members_share_is_said_once():
    frame = two_projections().assign(shortcut="none")
    frame.loc[frame["projection"] == "relu6", "test_accuracy"] = 0.1
    figure = drawn(frame)
    assert [text.get_text() for text in figure.axes[0].texts] == ["t = 1", "t = 6"]
    assert "Pareto front of mean accuracies (linear)." in note_of(figure)
    assert "Lines join expansion 1, 2, 6." in note_of(figure)
    assert "Bands are 95 % t intervals over seeds." in note_of(figure)


def test_many_members_are_numbered_and_named_below():
    frame = make_frame(seeds=2)
    widths = [
        frame.assign(
            width=w,
            madds=(frame["madds"] * w**2).astype(int),
            test_accuracy=frame["test_accuracy"] - 0.1 / w,
        )
        for w in (0.35, 0.5, 1.0, 1.4)
    ]
    figure = drawn(pd.concat(widths, ignore_index=True))
    numbers = [int(text.get_text()) for axis in figure.axes for text in axis.texts]
    assert numbers == sorted(numbers)
    assert numbers[0] == 1
    assert len(numbers) > 6
    assert "1: t = 1, width 0.35; 2: t = 2, width 0.35;" in note_of(figure)


def test_each_data_set_has_its_front():
    frame = two_projections()
    easy = frame.assign(dataset="easy", test_accuracy=0.99)
    figure = drawn(pd.concat([frame, easy], ignore_index=True))
    by_title = {axis.get_title(loc="left"): axis for axis in figure.axes}
    heights = {
        title: max(
            line.get_ydata()[-1] for line in axis.lines if line.get_label() == "Pareto front"
        )
        for title, axis in by_title.items()
    }
    assert heights == {"digits": 90, "easy": 99}


def test_networks_are_never_averaged_over_a_cost():
    """Networks of equal cost stay apart, seeds alone are averaged."""
    frame = two_projections().assign(madds=1000, params=10)
    (axis,) = drawn(frame, View("madds")).axes
    means = [y for line in axis.lines if line.get_label() == "_" for y in line.get_ydata()]
    assert {round(mean) for mean in means} >= {50, 40, 90, 30, 60, 20}


def test_too_many_networks_to_join_are_points():
    frame = make_frame(expansions=(1, 6), projections=("linear",), shortcuts=("none",), seeds=2)
    many = pd.concat(
        [frame.assign(**{"train.rate": rate / 10}) for rate in range(30)], ignore_index=True
    )
    figure = drawn(many)
    assert "too many to join" in note_of(figure)
    assert "intervals over seeds" not in note_of(figure)
    assert not figure.axes[0].collections


def test_names_that_would_overlap_are_left_out_and_listed_in_the_note():
    frame = make_frame(tuple(range(1, 11)), ("linear",), ("none",), seeds=2)
    frame["test_accuracy"] = 0.95 - 0.05 / frame["expansion"]
    figure = drawn(frame, View("madds"))
    (axis,) = figure.axes
    names = [text.get_text() for text in axis.texts]
    assert names[0] == "t = 1"
    assert names[-1] == "t = 10"
    assert 4 <= len(names) < 10
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    rings = [line for line in axis.lines if line.get_markerfacecolor() == "none"]
    assert [len(ring.get_xdata()) for ring in rings] == [10]
    assert "Pareto front of mean accuracies: t = 1; t = 2; t = 3;" in note_of(figure)
