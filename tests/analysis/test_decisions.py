import numpy as np
import pandas as pd
import pytest

from mnv2_jax.analysis.claims import Claim, equivalent, greater, interaction, monotone, within_of
from mnv2_jax.analysis.verdicts import decide, undecidable
from tests.analysis.examples import (
    CLAIM,
    LINEAR,
    expansions_at,
    more_without_shortcuts,
    plateau,
    rising,
    transfers,
)
from tests.analysis.synthetic import make_frame, stop

NUMBERS = ("estimate", "ci_low", "ci_high", "bootstrap_low", "bootstrap_high")


def test_the_opposite_claim_is_refuted_and_a_tie_inconclusive(frame: pd.DataFrame) -> None:
    opposite = greater("r", "", "ReLU6 is better.", "projection", "relu6", "linear")
    assert decide([opposite], frame)[0]["verdict"] == "refuted"
    frame["test_accuracy"] = np.random.default_rng(0).normal(0.9, 0.01, len(frame))
    assert decide([LINEAR], frame)[0]["verdict"] == "inconclusive"


def test_a_pinned_axis_is_inconclusive_without_numbers() -> None:
    pinned = make_frame(expansions=(6,), projections=("linear",))
    for row in decide([LINEAR, plateau()], pinned):
        assert (row["pairs"], row["seeds"], row["dropped"]) == (0, 0, 0)
        assert {row[key] for key in (*NUMBERS, "p_value", "p_holm", "effect_size")} == {None}
        assert (row["detectable"], row["seeds_needed"]) == (None, None)
        assert row["verdict"] == "inconclusive"


def test_one_seed_gives_an_estimate_but_no_verdict() -> None:
    for row in decide([LINEAR, plateau(0.5)], make_frame(seeds=1)):
        assert row["estimate"] is not None
        assert (row["ci_low"], row["ci_high"], row["p_value"]) == (None, None, None)
        assert (row["seeds"], row["verdict"]) == (1, "inconclusive")


@pytest.mark.parametrize(
    ("levels", "noise", "verdict"),
    [
        ({6: 0.90, 8: 0.901, 10: 0.903}, 0.001, "supported"),
        ({6: 0.90, 8: 0.901, 10: 0.93}, 0.001, "refuted"),
        ({6: 0.93, 8: 0.901, 10: 0.90}, 0.001, "refuted"),
        ({6: 0.90, 8: 0.905, 10: 0.91}, 0.001, "inconclusive"),  # 6 to 10 lies on the margin
        ({6: 0.90, 8: 0.90, 10: 0.90}, 0.08, "inconclusive"),  # too noisy to say
    ],
)
def test_verdicts_of_an_equivalence(levels: dict[float, float], noise: float, verdict: str) -> None:
    (row,) = decide([plateau()], expansions_at(levels, noise))
    assert row["verdict"] == verdict
    assert (row["p_support"] < 0.05) == (verdict == "supported")
    assert (row["p_refute"] < 0.05) == (verdict == "refuted")
    assert (row["pairs"], row["seeds"], row["confidence"]) == (72, 6, 0.90)
    assert row["selected"] == "the largest of 3 differences"


def test_an_equivalence_reports_its_widest_pair_as_later_minus_earlier() -> None:
    (row,) = decide([plateau()], expansions_at({6: 0.93, 8: 0.90, 10: 0.92}, 1e-4))
    assert row["estimate"] == pytest.approx(-0.03, abs=1e-3)
    assert row["ci_low"] < row["estimate"] < row["ci_high"] < -0.01


def test_an_equivalence_needs_every_pair_to_be_supported_but_one_to_be_refuted() -> None:
    without_10: dict[float, float] = {6: 0.90, 8: 0.901}
    (row,) = decide([plateau()], expansions_at(without_10, 0.001))
    assert (row["verdict"], row["p_support"], row["seeds"]) == ("inconclusive", None, 0)
    assert row["estimate"] == pytest.approx(0.001, abs=1e-3)
    (row,) = decide([plateau()], expansions_at({6: 0.90, 8: 0.95}, 0.001))
    assert row["verdict"] == "refuted"


def test_an_equivalence_of_several_is_refuted_by_more_than_a_90_percent_interval() -> None:
    # Any of three pairs could lie outside by chance: each has a third of the 5 %.
    two = equivalent("two", "", "", "expansion", (6, 10), 0.01)
    frame = expansions_at({6: 0.90, 8: 0.90, 10: 0.90}, 0)
    seed_level = {0: 0.013, 1: 0.017, 2: 0.021, 3: 0.009, 4: 0.014, 5: 0.012}
    frame.loc[frame["expansion"] == 10, "test_accuracy"] += frame["seed"].map(seed_level)
    (of_two,), (of_three,) = decide([two], frame), decide([plateau()], frame)
    for row in (of_two, of_three):
        assert row["ci_low"] > 0.01
    assert (of_two["verdict"], of_three["verdict"]) == ("refuted", "inconclusive")
    assert of_three["p_refute"] == pytest.approx(3 * of_two["p_refute"])


@pytest.mark.parametrize(
    ("levels", "noise", "margin", "verdict"),
    [
        ({2: 0.90, 4: 0.92, 6: 0.93}, 0.001, 0.0, "supported"),
        ({2: 0.90, 4: 0.92, 6: 0.91}, 0.001, 0.0, "refuted"),  # a step falls
        ({2: 0.90, 4: 0.92, 6: 0.91}, 0.001, 0.02, "supported"),  # by less than the margin
        ({2: 0.93, 4: 0.92, 6: 0.91}, 0.001, 0.02, "refuted"),  # the whole falls
        ({2: 0.90, 4: 0.92, 6: 0.92}, 0.001, 0.0, "inconclusive"),  # the step may be a fall
        ({2: 0.90, 4: 0.92, 6: 0.92}, 0.001, 0.01, "supported"),
        ({2: 0.90, 4: 0.90, 6: 0.90}, 0.001, 0.01, "inconclusive"),  # no rise
        ({2: 0.90, 4: 0.92, 6: 0.93}, 0.2, 0.0, "inconclusive"),  # too noisy to say
    ],
)
def test_verdicts_of_a_monotone_claim(
    levels: dict[float, float], noise: float, margin: float, verdict: str
) -> None:
    (row,) = decide([rising(margin=margin)], expansions_at(levels, noise))
    assert row["verdict"] == verdict
    assert (row["p_support"] < 0.05) == (verdict == "supported")
    assert (row["p_refute"] < 0.05) == (verdict == "refuted")
    # Two steps and the whole, 24 pairs each.
    assert (row["pairs"], row["seeds"], row["confidence"]) == (72, 6, 0.95)
    if noise < 0.1:
        assert row["estimate"] == pytest.approx(levels[6] - levels[2], abs=2e-3)


def test_a_monotone_claim_follows_its_own_order_of_values() -> None:
    frame = expansions_at({2: 0.93, 4: 0.92, 6: 0.90}, 0.001)
    assert decide([rising((6, 4, 2))], frame)[0]["verdict"] == "supported"
    assert decide([rising((2, 4, 6))], frame)[0]["verdict"] == "refuted"


def test_a_monotone_claim_of_two_values_is_one_of_greater() -> None:
    for first, last in ((0.90, 0.93), (0.93, 0.90), (0.9, 0.9)):
        frame = expansions_at({2: first, 6: last}, 0.002)
        one, other = decide([rising((2, 6)), greater("g", "", "", "expansion", 6, 2)], frame)
        same = ("estimate", "ci_low", "ci_high", "verdict", "effect_size", "detectable")
        assert [one[key] for key in same] == [other[key] for key in same]


def test_a_monotone_claim_with_a_value_missing_can_be_refuted_only() -> None:
    frame = expansions_at({2: 0.90, 6: 0.93}, 0.001)
    (row,) = decide([rising()], frame)
    assert (row["verdict"], row["p_support"], row["seeds"]) == ("inconclusive", None, 0)
    assert row["estimate"] == pytest.approx(0.03, abs=1e-3)
    (row,) = decide([rising()], expansions_at({2: 0.93, 6: 0.90}, 0.001))
    assert row["verdict"] == "refuted"


def test_an_interaction_is_the_difference_of_differences(frame: pd.DataFrame) -> None:
    (row,) = decide([more_without_shortcuts()], frame)
    assert row["verdict"] == "supported"
    level = frame.groupby(["projection", "shortcut"])["test_accuracy"].mean()
    gain = level["linear"] - level["relu6"]
    assert row["estimate"] == pytest.approx(gain["none"] - gain["bottleneck"])
    assert (row["pairs"], row["seeds"], row["dropped"]) == (36, 6, 0)
    (opposite,) = decide([more_without_shortcuts("bottleneck", "none")], frame)
    assert opposite["verdict"] == "refuted"
    assert opposite["ci_high"] == pytest.approx(-row["ci_low"])


def test_equal_gains_are_no_interaction(frame: pd.DataFrame) -> None:
    noise = np.random.default_rng(0).normal(0.9, 0.01, len(frame))
    frame["test_accuracy"] = noise + 0.05 * (frame["projection"] == "linear")
    linear, both = decide([LINEAR, more_without_shortcuts()], frame)
    assert (linear["verdict"], both["verdict"]) == ("supported", "inconclusive")


def test_an_interaction_needs_all_four_runs(frame: pd.DataFrame) -> None:
    stop(frame, 0)
    (row,) = decide([more_without_shortcuts()], frame.drop(index=20))
    assert (row["pairs"], row["dropped"], row["seeds"]) == (34, 2, 6)
    (row,) = decide([more_without_shortcuts()], frame[frame["shortcut"] == "none"])
    assert (row["estimate"], row["verdict"]) == (None, "inconclusive")


def test_no_run_done_and_no_run_at_all(frame: pd.DataFrame) -> None:
    for index in frame.index:
        stop(frame, index)
    (row,) = decide([LINEAR], frame)
    assert (row["pairs"], row["dropped"], row["verdict"]) == (0, 72, "inconclusive")
    (row,) = decide([LINEAR], frame.head(0))
    assert (row["pairs"], row["dropped"], row["verdict"]) == (0, 0, "inconclusive")


def test_what_varies_along_with_the_axis_may_differ_in_a_pair() -> None:
    frame = make_frame(expansions=(6,), shortcuts=("bottleneck",))
    frame.loc[frame["projection"] == "relu6", "width"] = 2.0
    (apart,) = decide([greater(*CLAIM)], frame)
    assert (apart["pairs"], apart["dropped"]) == (0, 12)
    (along,) = decide([greater(*CLAIM, covarying=["model.width"])], frame)
    assert (along["pairs"], along["dropped"], along["verdict"]) == (6, 0, "supported")
    # Where runs do not differ in a field, there is nothing to say of it.
    (same,) = decide([greater(*CLAIM, covarying=["model.width", "train.momentum"])], frame)
    assert {**same, "claim": None} == {**along, "claim": None}
    with pytest.raises(ValueError, match="axis 'stride' is not a column to compare"):
        decide([greater(*CLAIM, covarying=["stride"])], frame)


def test_runs_of_pretraining_are_left_out_unless_a_claim_names_the_phase() -> None:
    frame = transfers()
    others = frame[frame["transfer.phase"] != "pretraining"]
    linear = {"model.projection": "linear"}
    claims: list[Claim] = [
        LINEAR,
        greater("where", "", "", "expansion", 6, 1, linear),
        equivalent("equivalent", "", "", "model.projection", ("relu6", "linear"), 0.01),
        monotone("monotone", "", "", "model.projection", ("relu6", "linear")),
        interaction("both", "", "", "projection", "linear", "relu6", "expansion", 6, 1),
        within_of("within", "", "", 0.9, 0.01),
    ]
    rows = decide(claims, frame)
    assert rows == decide(claims, others)
    assert rows[0]["verdict"] == "supported"
    named: list[Claim] = [
        greater("w", "", "", "projection", "linear", "relu6", {"transfer.phase": "pretraining"}),
        greater("a", "", "", "transfer.phase", "pretraining", "tuned", covarying=["transfer.norm"]),
        interaction(
            *("i", "", "", "projection", "linear", "relu6"),
            *("transfer.phase", "pretraining", "tuned"),
        ),
    ]
    assert [row["seeds"] for row in decide(named[:2], frame)] == [6, 6]
    assert decide(named[:1], frame)[0]["verdict"] == "refuted"
    # The statistics that moved in one phase alone keep its runs from those of the other.
    assert undecidable(named, frame.to_dict("records")) == [
        "claim 'i' cannot be decided: runs with transfer.phase pretraining and tuned differ in "
        "transfer.norm too; a claim of `greater` allows for that, by covarying=(...)"
    ]
