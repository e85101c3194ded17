import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mnv2_jax.analysis import power, stats
from mnv2_jax.analysis.claims import (
    Claim,
    Equivalent,
    Interaction,
    Monotone,
    equivalent,
    greater,
    interaction,
    monotone,
)
from mnv2_jax.analysis.verdicts import claims_table, decide
from tests.analysis.synthetic import make_frame, stop

KEYS = {
    *("name", "source", "statement", "metric", "estimate", "ci_low", "ci_high", "confidence"),
    *("kind", "pairs", "seeds", "dropped", "p_value", "verdict", "bootstrap_low", "bootstrap_high"),
    *("p_holm", "effect_size", "detectable", "seeds_needed", "notes"),
}
NUMBERS = ("estimate", "ci_low", "ci_high", "bootstrap_low", "bootstrap_high")
LINEAR = greater("linear", "Fig. 6a", "Linear is better.", "projection", "linear", "relu6")


def plateau(margin: float = 0.01) -> Equivalent:
    return equivalent(
        "plateau", "section 3.3", "All the same.", "expansion", values=(6, 8, 10), margin=margin
    )


def rising(values: tuple[float, ...] = (2, 4, 6), margin: float = 0.0) -> Monotone:
    return monotone("rising", "Fig. 6", "It rises.", "model.expansion", values, margin)


def more_without_shortcuts(more: str = "none", less: str = "bottleneck") -> Interaction:
    return interaction(
        "more_without",
        "Fig. 6",
        "Linear helps more without shortcuts.",
        "model.projection",
        "linear",
        "relu6",
        by="model.shortcut",
        more=more,
        less=less,
    )


def expansions_at(levels: dict[float, float], noise: float, seeds: int = 6) -> pd.DataFrame:
    """Runs whose accuracy is set by the expansion, with noise of the given size per run."""
    frame = make_frame(expansions=tuple(levels), seeds=seeds)
    rng = np.random.default_rng(0)
    frame["test_accuracy"] = frame["expansion"].map(levels) + rng.normal(0, noise, len(frame))
    return frame


def test_the_default_grid_supports_linear_bottlenecks(frame: pd.DataFrame) -> None:
    (row,) = decide([LINEAR], frame)
    assert set(row) == KEYS
    assert row["verdict"] == "supported"
    assert 0.09 < row["ci_low"] < row["estimate"] < row["ci_high"] < 0.12
    assert (row["pairs"], row["seeds"], row["dropped"]) == (72, 6, 0)
    assert (row["confidence"], row["p_value"]) == (0.95, 2 / 64)


def test_the_opposite_claim_is_refuted_and_a_tie_inconclusive(frame: pd.DataFrame) -> None:
    opposite = greater("r", "", "ReLU6 is better.", "projection", "relu6", "linear")
    assert decide([opposite], frame)[0]["verdict"] == "refuted"
    frame["test_accuracy"] = np.random.default_rng(0).normal(0.9, 0.01, len(frame))
    assert decide([LINEAR], frame)[0]["verdict"] == "inconclusive"


def test_where_and_metric_choose_what_is_compared(frame: pd.DataFrame) -> None:
    frame["train_accuracy"] = 0.5
    claim = greater(
        "n", "", "", "shortcut", "bottleneck", "none", {"projection": "linear"}, "train_accuracy"
    )
    (row,) = decide([claim], frame)
    assert (row["pairs"], row["estimate"], row["metric"]) == (36, 0, "train_accuracy")
    assert (row["ci_low"], row["ci_high"], row["verdict"]) == (0, 0, "inconclusive")


def test_dropped_counts_pairs_not_runs(frame: pd.DataFrame) -> None:
    linear = frame.index[(frame["projection"] == "linear") & (frame["seed"] == 0)]
    relu6 = frame.index[(frame["projection"] == "relu6") & (frame["seed"] == 0)]
    stop(frame, linear[0])
    stop(frame, relu6[0], "failed")  # the other half of the same pair
    stop(frame, relu6[1])
    (row,) = decide([LINEAR], frame.drop(index=relu6[2]))
    assert (row["pairs"], row["dropped"], row["seeds"]) == (69, 3, 6)


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
    assert set(row) == KEYS | {"margin"}
    assert row["verdict"] == verdict
    assert (row["p_value"] < 0.05) == (verdict == "supported")
    assert (row["pairs"], row["seeds"], row["confidence"]) == (72, 6, 0.90)


def test_an_equivalence_reports_its_widest_pair_as_later_minus_earlier() -> None:
    (row,) = decide([plateau()], expansions_at({6: 0.93, 8: 0.90, 10: 0.92}, 1e-4))
    assert row["estimate"] == pytest.approx(-0.03, abs=1e-3)
    assert row["ci_low"] < row["estimate"] < row["ci_high"] < -0.01


def test_an_equivalence_needs_every_pair_to_be_supported_but_one_to_be_refuted() -> None:
    without_10: dict[float, float] = {6: 0.90, 8: 0.901}
    (row,) = decide([plateau()], expansions_at(without_10, 0.001))
    assert (row["verdict"], row["p_value"], row["seeds"]) == ("inconclusive", None, 0)
    assert row["estimate"] == pytest.approx(0.001, abs=1e-3)
    (row,) = decide([plateau()], expansions_at({6: 0.90, 8: 0.95}, 0.001))
    assert row["verdict"] == "refuted"


def test_an_equivalence_of_several_is_refuted_by_more_than_a_90_percent_interval() -> None:
    # Any of three pairs could lie outside by chance: each has a third of the 5 %.
    two = equivalent("two", "", "", "expansion", (6, 10), 0.01)
    frame = expansions_at({6: 0.90, 8: 0.90, 10: 0.90}, 0)
    seed_level = {0: 0.013, 1: 0.017, 2: 0.021, 3: 0.009, 4: 0.014, 5: 0.012}
    frame.loc[frame["expansion"] == 10, "test_accuracy"] += frame["seed"].map(seed_level)
    of_two, of_three = decide([two, plateau()], frame)
    for row in (of_two, of_three):
        assert row["ci_low"] > 0.01
    assert (of_two["verdict"], of_three["verdict"]) == ("refuted", "inconclusive")
    assert of_three["notes"][0] == (
        "The interval of 96.7 %, which one of 3 comparisons needs to refute the claim, "
        "does not lie outside."
    )


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
    assert set(row) == KEYS | {"margin"}
    assert row["verdict"] == verdict
    assert (row["p_value"] < 0.05) == (verdict == "supported")
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
    assert (row["verdict"], row["p_value"], row["seeds"]) == ("inconclusive", None, 0)
    assert row["estimate"] == pytest.approx(0.03, abs=1e-3)
    (row,) = decide([rising()], expansions_at({2: 0.93, 6: 0.90}, 0.001))
    assert row["verdict"] == "refuted"


def test_an_interaction_is_the_difference_of_differences(frame: pd.DataFrame) -> None:
    (row,) = decide([more_without_shortcuts()], frame)
    assert set(row) == KEYS
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


def test_the_bootstrap_stands_beside_the_t_interval(frame: pd.DataFrame) -> None:
    for row in decide([LINEAR, plateau(), more_without_shortcuts(), rising()], frame):
        # Narrower over six seeds: the reason why it decides nothing.
        assert row["ci_low"] < row["bootstrap_low"] < row["estimate"]
        assert row["estimate"] < row["bootstrap_high"] < row["ci_high"]
    assert decide([LINEAR], frame) == decide([LINEAR], frame.sample(frac=1, random_state=0))


def test_holm_is_over_all_claims_that_were_tested(frame: pd.DataFrame) -> None:
    never_run = greater("x", "", "", "shortcut", "none", "expansion")
    (alone,) = decide([LINEAR], frame)
    assert alone["p_holm"] == alone["p_value"] == 2 / 64
    rows = decide([LINEAR, never_run, more_without_shortcuts(), rising((2, 6))], frame)
    assert [row["p_holm"] for row in rows] == [6 / 64, None, 6 / 64, 6 / 64]


def test_sizes_and_seeds_are_those_of_the_comparison_that_is_reported() -> None:
    frame = expansions_at({6: 0.90, 8: 0.901, 10: 0.903}, 0.01)
    pairs = stats.paired_differences(frame, "expansion", 10, 6, {}, "test_accuracy")
    means = stats.seed_means(pairs)
    sd = np.std(means, ddof=1)
    reported, equal = decide([greater("g", "", "", "expansion", 10, 6), plateau(0.01)], frame)
    assert equal["estimate"] == reported["estimate"] == pytest.approx(np.mean(means))
    assert equal["effect_size"] == reported["effect_size"] == power.effect_size(means)
    assert reported["detectable"] == pytest.approx(power.detectable_difference(sd, 6))
    assert reported["seeds_needed"] == power.seeds_needed(sd, np.mean(means))
    assert equal["detectable"] == pytest.approx(power.detectable_margin(sd, 6))
    assert equal["seeds_needed"] == power.seeds_needed_within(sd, 0.01)


def test_without_scatter_there_is_no_effect_size_and_no_power(frame: pd.DataFrame) -> None:
    frame["test_accuracy"] = np.where(frame["projection"] == "linear", 0.9, 0.8)
    (row,) = decide([LINEAR], frame)
    assert row["bootstrap_low"] == row["bootstrap_high"] == pytest.approx(0.1)
    assert (row["effect_size"], row["detectable"], row["seeds_needed"]) == (None, None, None)


def test_no_run_done_and_no_run_at_all(frame: pd.DataFrame) -> None:
    for index in frame.index:
        stop(frame, index)
    (row,) = decide([LINEAR], frame)
    assert (row["pairs"], row["dropped"], row["verdict"]) == (0, 72, "inconclusive")
    (row,) = decide([LINEAR], frame.head(0))
    assert (row["pairs"], row["dropped"], row["verdict"]) == (0, 0, "inconclusive")


def test_decided_claims_are_strict_json(frame: pd.DataFrame) -> None:
    every: list[Claim] = [LINEAR, plateau(), more_without_shortcuts(), rising()]
    rows = decide(every, frame)
    for seeds in (0, 1, 2):
        rows += decide(every, frame[frame["seed"] < seeds])
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_claims_that_cannot_be_meant_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="better and worse are both 'linear'"):
        greater("x", "", "", "projection", "linear", "linear")
    with pytest.raises(ValueError, match="where restricts the compared axis 'projection'"):
        greater("x", "", "", "projection", "linear", "relu6", {"projection": "linear"})
    for values in ((6,), (6, 6)):
        with pytest.raises(ValueError, match="must be two or more, all different"):
            equivalent("x", "", "", "expansion", values, 0.01)
    for margin in (0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="margin"):
            equivalent("x", "", "", "expansion", (6, 8), margin)
        if margin != 0:
            with pytest.raises(ValueError, match="margin"):
                monotone("x", "", "", "expansion", (6, 8), margin)
    with pytest.raises(ValueError, match="must be two or more, all different"):
        monotone("x", "", "", "expansion", (6, 8, 6))
    with pytest.raises(ValueError, match="more and less are both 'none'"):
        more_without_shortcuts("none", "none")
    with pytest.raises(ValueError, match="axis and by are both 'width'"):
        interaction("x", "", "", "width", 1, 2, by="width", more=1, less=2)
    with pytest.raises(ValueError, match="better and worse are both 1"):
        interaction("x", "", "", "width", 1, 1, by="expansion", more=1, less=2)
    with pytest.raises(ValueError, match="where restricts the compared axis 'expansion'"):
        interaction("x", "", "", "width", 1, 2, "expansion", 1, 2, {"expansion": 1})
    with pytest.raises(ValueError, match="where restricts the compared axis 'expansion'"):
        monotone("x", "", "", "expansion", (6, 8), where={"expansion": 6})
    with pytest.raises(ValueError, match="axis 'stride'"):
        decide([greater("x", "", "", "stride", 1, 2)], frame)


def test_the_terminal_table_fits_80_columns_and_says_each_note_once(frame: pd.DataFrame) -> None:
    few = frame[frame["seed"] < 5]
    rows = decide([LINEAR, plateau(), more_without_shortcuts(), rising(margin=0.002)], few)
    output = io.StringIO()
    Console(width=80, file=output).print(claims_table(rows))
    text = output.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    for words in ("(Holm)", "0.062", "(0.188)", "supported", "margin ±1.0 pt"):
        assert words in text
    assert "falls up to 0.2 pt" in text
    said = "linear, more_without, rising: With 5 seeds the sign-flip test cannot give less than"
    assert said in " ".join(text.split())


def test_the_terminal_table_says_points_and_verdict_in_words(frame: pd.DataFrame) -> None:
    stop(frame, 0)
    rows = decide([LINEAR, plateau()], frame)
    rows += decide([greater("[x]", "", "[b]raw[/b]", "shortcut", "none", "expansion")], frame)
    rows[0] |= {"estimate": 0.076, "ci_low": 0.0694, "ci_high": 0.0821}
    output = io.StringIO()
    Console(width=120, file=output).print(claims_table(rows))
    text = output.getvalue()
    assert "+7.6 [+6.9, +8.2] pt" in text
    assert "71 of 72" in text
    assert "margin ±1.0 pt" in text
    assert "not measured" in text
    assert "[b]raw[/b]" in text
    for verdict in ("supported", "inconclusive"):
        assert verdict in text
