import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.analysis.axes import View, cost_view
from mnv2_jax.analysis.charts.accuracy import accuracy
from mnv2_jax.analysis.charts.pareto import pareto_front
from tests.analysis.charts.drawn import channel, layers, note, whole
from tests.analysis.synthetic import make_frame, make_sections, make_transfers

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


def chart_of(frame, view=None, metric="test_accuracy"):
    chart = accuracy(frame, view or cost_view(frame, "madds"), metric)
    assert chart is not None
    return chart


def names(chart, **fields):
    return [row["text"] for row in whole(chart, "member", **fields)]


def flat(frame, **accuracies):
    """The frame with one accuracy per expansion and projection, the same for all seeds."""
    keys = frame["projection"] + frame["expansion"].map("{:g}".format)
    return frame.assign(test_accuracy=keys.map(accuracies))


def two_projections():
    frame = make_frame(expansions=(1, 2, 6), shortcuts=("none",), seeds=2)
    return flat(frame, linear1=0.5, linear2=0.4, linear6=0.9, relu61=0.3, relu62=0.6, relu66=0.2)


def test_members_are_named_and_joined_by_steps():
    chart = chart_of(two_projections())
    assert names(chart) == ["linear, t = 1", "ReLU6, t = 2", "linear, t = 6"]
    assert [row["y"] for row in whole(chart, "front")] == [50, 60, 90, 90]
    (step,) = [one["mark"] for one in layers(chart) if "interpolate" in one["mark"]]
    assert step["interpolate"] == "step-after"
    assert "Pareto front" in channel(chart, "color")["legend"]["values"]


def test_where_less_is_better_the_front_falls():
    frame = two_projections()
    chart = chart_of(frame.assign(test_loss=1 - frame["test_accuracy"]), metric="test_loss")
    heights = [row["y"] for row in whole(chart, "front")]
    assert heights == sorted(heights, reverse=True)
    assert "Pareto front of means of test loss" in note(chart)


def test_a_member_is_named_in_its_own_panel_and_the_front_is_in_all():
    chart = chart_of(two_projections(), View("madds", None, ("projection",)))
    assert names(chart, panel="ReLU6") == ["ReLU6, t = 2"]
    assert names(chart, panel="Linear") == ["linear, t = 1", "linear, t = 6"]
    assert {row["panel"] for row in whole(chart, "front")} == {"Linear", "ReLU6"}


def test_what_all_members_share_is_said_once():
    frame = two_projections().assign(shortcut="none")
    frame.loc[frame["projection"] == "relu6", "test_accuracy"] = 0.1
    frame["test_accuracy"] += 1e-4 * frame["seed"]
    chart = chart_of(frame)
    assert names(chart) == ["t = 1", "t = 6"]
    assert "Pareto front of mean accuracies (linear)." in note(chart)
    assert "Lines join expansion 1, 2, 6." in note(chart)
    assert "Bands are 95 % t intervals over seeds." in note(chart)


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
    chart = chart_of(pd.concat(widths, ignore_index=True))
    numbers = [int(text) for text in names(chart)]
    assert numbers == sorted(numbers)
    assert numbers[0] == 1
    assert len(numbers) > 6
    assert "1: t = 1, width 0.35; 2: t = 2, width 0.35;" in note(chart)


def test_each_data_set_has_its_front():
    frame = two_projections()
    easy = frame.assign(dataset="easy", test_accuracy=0.99)
    chart = chart_of(pd.concat([frame, easy], ignore_index=True))
    heights = {row["panel"]: row["y"] for row in whole(chart, "front")}
    assert heights == {"digits": 90, "easy": 99}


def test_a_front_is_of_runs_that_can_be_compared():
    frame = make_transfers()
    easy = frame["transfer.phase"] == "pretraining"  # It alone reaches 100 %.
    frame = frame.assign(test_accuracy=frame["test_accuracy"].where(~easy, 1.0))
    fronts = whole(chart_of(frame, View("madds", "projection", ("transfer.phase",))), "front")
    assert "Pretraining (other classes)" not in {row["panel"] for row in fronts}
    assert max(row["y"] for row in fronts) < 100


def test_a_front_names_networks_without_the_cells_of_others():
    frame = make_sections()
    frame.loc[frame["transfer.phase"] == "scratch", ["madds", "test_accuracy"]] = [10, 0.99]
    said = note(chart_of(frame, View("madds", "transfer.phase")))
    assert "from scratch" in said
    assert "nan" not in said


def test_networks_are_never_averaged_over_a_cost():
    """Networks of equal cost stay apart, seeds alone are averaged."""
    frame = two_projections().assign(madds=1000, params=10)
    means = whole(chart_of(frame, View("madds")), "mean")
    assert sorted(row["y"] for row in means) == [20, 30, 40, 50, 60, 90]


def test_too_many_networks_to_join_are_points():
    frame = make_frame(expansions=(1, 6), projections=("linear",), shortcuts=("none",), seeds=2)
    many = pd.concat(
        [frame.assign(**{"train.rate": rate / 10}) for rate in range(30)], ignore_index=True
    )
    chart = chart_of(many)
    assert "too many to join" in note(chart)
    assert "intervals over seeds" not in note(chart)
    assert {row["kind"] for row in whole(chart, "mean")} == {""}
    assert not whole(chart, "point")


def test_names_that_would_overlap_give_way_to_numbers():
    frame = make_frame(tuple(range(1, 11)), ("linear",), ("none",), seeds=2)
    frame["test_accuracy"] = 0.95 - 0.05 / frame["expansion"]
    chart = chart_of(frame, View("madds"))
    assert names(chart) == [str(number) for number in range(1, 11)]
    assert "Pareto front of mean accuracies: 1: t = 1; 2: t = 2; 3: t = 3;" in note(chart)
    few = chart_of(frame[frame["expansion"].isin([1, 9])].reset_index(drop=True), View("madds"))
    assert names(few) == ["t = 1", "t = 9"]
    # The axis begins early enough for the first name.
    starts = [channel(one, "x")["scale"]["domain"][0] for one in (few, chart)]
    assert starts[0] < starts[1] < frame["madds"].min()
