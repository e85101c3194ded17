"""The chart of differences has the claims' own estimates, and each claim an axis of its own."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.analysis.charts.effects import effects
from mnv2_jax.analysis.charts.forest import forest
from mnv2_jax.analysis.claims import Claim, greater, within_of
from mnv2_jax.analysis.verdicts import decide
from tests.analysis.charts.drawn import note, whole
from tests.analysis.examples import LINEAR, more_without_shortcuts, plateau
from tests.analysis.synthetic import make_frame, stop

SHORTCUT = dataclasses.replace(LINEAR, where={"model.shortcut": "bottleneck"})


def chart_of(frame: pd.DataFrame, *claims: Claim) -> Chart:
    chart = effects(frame, claims, decide(claims, frame))
    assert chart is not None
    return chart


def numbers(row: dict[str, float]) -> list[float]:
    return [row["y"], row["low"], row["high"]]


def test_the_first_place_has_the_estimate_and_interval_of_the_claim(frame: pd.DataFrame) -> None:
    stop(frame, 3)
    claims = (SHORTCUT, LINEAR, more_without_shortcuts())
    chart = chart_of(frame, *claims)
    for number, row in enumerate(decide(claims, frame)):
        (every,) = whole(chart, "effect", view=str(number), at="All")
        assert every["look"] == row["verdict"]
        expected = [100 * row[name] for name in ("estimate", "ci_low", "ci_high")]
        assert numbers(every) == pytest.approx(expected, abs=1e-5)
        seeds = whole(chart, "seed", view=str(number), at="All")
        assert np.mean([one["y"] for one in seeds]) == pytest.approx(every["y"], abs=1e-5)
        assert [one["seed"] for one in seeds] == list(range(6))


def test_seeds_that_were_added_for_other_claims_do_not_count(frame: pd.DataFrame) -> None:
    added = frame[frame["shortcut"] == "none"].assign(test_accuracy=1.0)
    added = added.assign(seed=added["seed"] + 6, run_id="b" + added["run_id"])
    both = pd.concat([frame, added], ignore_index=True)
    rows = decide([LINEAR], both, anytime=True)
    for make, part in ((effects, "effect"), (forest, "along")):
        chart, before = make(both, [LINEAR], rows), make(frame, [LINEAR], rows)
        assert chart is not None
        assert before is not None
        assert whole(chart, part) == whole(before, part) != []


def test_the_others_have_the_differences_at_each_value_of_the_main_axis(
    frame: pd.DataFrame,
) -> None:
    chart = chart_of(frame, SHORTCUT)
    means = whole(chart, "effect", view="0")
    assert [one["at"] for one in means] == ["All", "1", "2", "4", "6", "8", "10"]
    runs = frame[frame["shortcut"] == "bottleneck"].set_index(["expansion", "seed"])
    linear, relu6 = (
        runs[runs["projection"] == name]["test_accuracy"] for name in ("linear", "relu6")
    )
    for one in means[1:]:
        expected = 100 * (linear - relu6)[float(one["at"])]
        assert one["y"] == pytest.approx(expected.mean(), abs=1e-5)
        points = [seed["y"] for seed in whole(chart, "seed", at=one["at"])]
        assert points == pytest.approx(expected.tolist(), abs=1e-5)
    # The design is complete: their mean is the claim's.
    assert np.mean([one["y"] for one in means[1:]]) == pytest.approx(means[0]["y"], abs=1e-5)
    assert "averaged" not in note(chart)
    assert "averaged over shortcut." in note(chart_of(frame, LINEAR))


def test_a_claim_of_several_comparisons_has_a_place_for_each(frame: pd.DataFrame) -> None:
    chart = chart_of(frame, plateau(margin=0.02))
    assert [one["at"] for one in whole(chart, "effect")] == ["6 to 8", "6 to 10", "8 to 10"]
    (row,) = decide([plateau(margin=0.02)], frame)
    furthest = max(whole(chart, "effect"), key=lambda one: abs(one["y"]))
    assert numbers(furthest) == pytest.approx(
        [100 * row[name] for name in ("estimate", "ci_low", "ci_high")], abs=1e-5
    )
    (band,) = whole(chart, "band")
    assert (band["low"], band["high"]) == (-2, 2)
    assert "A shaded band is the margin" in note(chart)


def test_a_wide_panel_does_not_flatten_another(frame: pd.DataFrame) -> None:
    frame.loc[(frame["projection"] == "relu6") & (frame["shortcut"] == "none"), "test_accuracy"] = (
        0.1
    )
    chart = chart_of(frame, SHORTCUT, LINEAR)
    small, large = chart.spec["usermeta"]["y"]["own"]
    assert small[1] - small[0] < 15 < 40 < large[1] - large[0]
    assert [
        view["layer"][-1]["encoding"]["y"]["scale"]["domain"] for view in chart.spec["concat"]
    ] == [small, large]
    same = [min(small[0], large[0]), max(small[1], large[1])]
    assert chart.spec["usermeta"]["y"]["same"] == [same, same]
    assert small[0] < 0 < small[1]


def test_losses_have_ends_of_their_own(frame: pd.DataFrame) -> None:
    loss = dataclasses.replace(SHORTCUT, metric="test_loss")
    chart = chart_of(frame, SHORTCUT, loss)
    assert chart.spec["usermeta"]["y"]["same"] == chart.spec["usermeta"]["y"]["own"]
    titles = [view["layer"][-1]["encoding"]["y"]["title"] for view in chart.spec["concat"]]
    assert titles == ["Difference in accuracy (percentage points)", "Difference in loss (nats)"]


def test_a_claim_over_nothing_else_has_one_place_and_unknown_ones_are_left_out() -> None:
    frame = make_frame(expansions=(6,), shortcuts=("none",), seeds=2)
    level = within_of("level", "", "", 0.9, 0.01)
    chart = chart_of(frame, LINEAR, level)
    assert [one["at"] for one in whole(chart, "effect")] == ["All", "All"]
    decided = decide([LINEAR, level], frame)
    fewer = effects(frame, [None, level], decided)
    assert fewer is not None
    assert len(fewer.spec["concat"]) == 1
    assert effects(frame, [None, None], decided) is None
    apart = greater("apart", "", "", "shortcut", "none", "expansion")
    assert effects(frame, [apart], decide([apart], frame)) is None


def test_places_are_in_the_order_of_the_grid() -> None:
    frame = make_frame(
        expansions=(6,), projections=("relu6", "linear"), shortcuts=("none", "bottleneck")
    )
    chart = chart_of(frame, LINEAR)
    assert [one["at"] for one in whole(chart, "effect")] == [
        *("All", "No shortcut", "Shortcut between bottlenecks")
    ]
