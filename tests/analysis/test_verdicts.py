import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mnv2_jax.analysis import means, power, stats
from mnv2_jax.analysis.claim_tables import claims_latex, claims_markdown, claims_table
from mnv2_jax.analysis.claims import Claim, greater
from mnv2_jax.analysis.verdicts import check, decide, undecidable
from tests.analysis.examples import LINEAR, expansions_at, more_without_shortcuts, plateau, rising
from tests.analysis.synthetic import make_frame, stop

KEYS = {
    *("name", "source", "statement", "metric", "estimate", "ci_low", "ci_high", "confidence"),
    *("kind", "pairs", "seeds", "dropped", "p_value", "verdict", "bootstrap_low", "bootstrap_high"),
    *("p_holm", "effect_size", "detectable", "seeds_needed", "notes", "measure", "shown"),
    *("p_support", "p_refute", "p_negligible", "sign_flip_p", "selected", "at_chance", "of_images"),
    *("test_images", "seeds_low", "seeds_high", "joint_low", "joint_high", "claim", "anytime"),
}


def test_the_default_grid_supports_linear_bottlenecks(frame: pd.DataFrame) -> None:
    (row,) = decide([LINEAR], frame)
    assert set(row) == KEYS
    assert row["verdict"] == "supported"
    assert 0.09 < row["ci_low"] < row["estimate"] < row["ci_high"] < 0.12
    assert (row["pairs"], row["seeds"], row["dropped"]) == (72, 6, 0)
    assert (row["confidence"], row["sign_flip_p"]) == (0.95, 2 / 64)
    # Without predictions of single images the interval is over seeds alone.
    assert (row["seeds_low"], row["seeds_high"]) == (row["ci_low"], row["ci_high"])
    assert (row["test_images"], row["of_images"], row["p_value"]) == (None, None, row["p_support"])


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


def test_the_bootstrap_stands_beside_the_t_interval(frame: pd.DataFrame) -> None:
    for row in decide([LINEAR, plateau(), more_without_shortcuts(), rising()], frame):
        # Narrower over six seeds: the reason why it decides nothing.
        assert row["ci_low"] < row["bootstrap_low"] < row["estimate"]
        assert row["estimate"] < row["bootstrap_high"] < row["ci_high"]
    assert decide([LINEAR], frame) == decide([LINEAR], frame.sample(frac=1, random_state=0))


def test_holm_is_over_all_claims_also_those_without_results(frame: pd.DataFrame) -> None:
    never_run = greater("x", "", "", "shortcut", "none", "expansion")
    (alone,) = decide([LINEAR], frame)
    assert alone["p_holm"] == alone["p_value"] < 0.05
    rows = decide([LINEAR, never_run, more_without_shortcuts(), rising((2, 6))], frame)
    p_values = [math.nan if row["p_value"] is None else row["p_value"] for row in rows]
    assert [row["p_holm"] for row in rows] == [
        None if math.isnan(p) else p for p in means.holm(p_values)
    ]
    assert rows[0]["p_holm"] > alone["p_holm"]


def test_seeds_that_were_added_on_the_way_need_more(frame: pd.DataFrame) -> None:
    claims = [LINEAR, more_without_shortcuts()]
    for fixed, added in zip(
        decide(claims, frame), decide(claims, frame, anytime=True), strict=True
    ):
        assert added["estimate"] == fixed["estimate"]
        assert added["p_holm"] >= fixed["p_holm"]
        for name in ("ci", "joint"):
            assert added[f"{name}_low"] < fixed[f"{name}_low"]
            assert added[f"{name}_high"] > fixed[f"{name}_high"]
        assert added["joint_low"] < added["ci_low"]
    # Three seeds give no e value that decides, however clear they are, and so no interval.
    few = decide([LINEAR], frame[frame["seed"] < 3], anytime=True)[0]
    assert (few["verdict"], few["ci_low"], few["joint_high"]) == ("inconclusive", None, None)


def test_claims_that_results_cannot_decide_are_refused_or_told_before_there_are_any() -> None:
    columns = make_frame().columns
    with pytest.raises(ValueError, match=r"^claim .linear.: two have this name; expected one"):
        check([LINEAR, LINEAR], columns)
    with pytest.raises(ValueError, match=r"^claim .x.: axis .train\.wd. is not a column"):
        check([greater("x", "", "", "train.wd", 1, 0)], columns)
    runs = make_frame(expansions=(4, 6)).to_dict("records")
    inverse = greater("y", "", "", "model.expansion", 8, 4, {"model.shortcut": "expansion"})
    assert undecidable([LINEAR, inverse, more_without_shortcuts(), rising((4, 6))], runs) == [
        "claim 'y' cannot be decided: no run has shortcut expansion or expansion 8"
    ]


def test_tables_of_markdown_and_latex_have_the_same_cells() -> None:
    rows = decide([LINEAR, plateau(0.5)], make_frame(seeds=5))
    rows[0]["statement"] = "50 % of a|b & {c} < d_e"
    *_, first, second = claims_markdown(rows).splitlines()
    assert first.startswith("| 50 % of a\\|b & {c} < d_e | Fig. 6a | +")
    assert first.endswith(" | 5 | 60 of 60 | < 0.001 (< 0.001) | **supported** |")
    latex = claims_latex(rows).splitlines()
    assert latex[4].startswith(r"50 \% of a|b \& \{c\} $<$ d\_e & Fig. 6a & +")
    assert latex[4].endswith(r" & 5 & 60 of 60 & $<$ 0.001 ($<$ 0.001) & supported \\")
    assert [line.count(" & ") for line in latex[4:6]] == [6, 6]
    assert second.count(" | ") == 6


def test_sizes_and_seeds_are_those_of_the_comparison_that_is_reported() -> None:
    frame = expansions_at({6: 0.90, 8: 0.901, 10: 0.903}, 0.01)
    pairs = stats.paired_differences(frame, stats.Contrast("expansion", 10, 6), "test_accuracy")
    by_seed = stats.seed_means(pairs)
    sd = np.std(by_seed, ddof=1)
    reported, equal = decide([greater("g", "", "", "expansion", 10, 6), plateau(0.01)], frame)
    assert equal["estimate"] == reported["estimate"] == pytest.approx(np.mean(by_seed))
    assert equal["effect_size"] == reported["effect_size"] == power.effect_size(by_seed)
    assert reported["detectable"] == pytest.approx(power.detectable_difference(sd, 6))
    assert reported["seeds_needed"] == power.seeds_needed(sd, np.mean(by_seed))
    # All three pairs of values have to be confirmed, which one pair alone is sooner.
    assert equal["detectable"] > power.detectable_margin(np.array([[sd**2]]), 6)


def test_without_scatter_there_is_no_effect_size_and_no_power(frame: pd.DataFrame) -> None:
    frame["test_accuracy"] = np.where(frame["projection"] == "linear", 0.9, 0.8)
    (row,) = decide([LINEAR], frame)
    assert row["bootstrap_low"] == row["bootstrap_high"] == pytest.approx(0.1)
    assert (row["effect_size"], row["detectable"], row["seeds_needed"]) == (None, None, None)


def test_decided_claims_are_strict_json_and_have_all_their_keys(frame: pd.DataFrame) -> None:
    claims: list[Claim] = [LINEAR, plateau(), more_without_shortcuts(), rising()]
    for seeds in (0, 1, 2, 6):
        rows = decide(claims, frame[frame["seed"] < seeds])
        assert json.loads(json.dumps(rows, allow_nan=False)) == rows
        comparison, equal, both, rise = rows
        assert set(comparison) == set(both) == KEYS
        assert set(equal) == set(rise) == KEYS | {"margin"}


def test_the_terminal_table_fits_80_columns_and_says_each_note_once(frame: pd.DataFrame) -> None:
    few = frame[frame["seed"] < 5]
    rows = decide([LINEAR, plateau(), more_without_shortcuts(), rising(margin=0.002)], few)
    output = io.StringIO()
    Console(width=80, file=output).print(claims_table(rows))
    text = output.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    for words in ("(Holm)", "< 0.001", "supported", "margin ±1.0 pt"):
        assert words in text
    assert "falls up to 0.2 pt" in text
    said = (
        "linear, more_without, rising: p of the sign-flip test, which assumes no distribution, is"
    )
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


@pytest.mark.parametrize(
    ("unit", "margin", "lines"),
    [
        ("%", "", []),
        ("%", "margin ±1.0 pt", ["margin ±1.0 pt"]),
        ("%", "within ±1.0 pt of 98.0 %", ["within ±1.0 pt of", "98.0 %"]),
        ("nats", "within ±0.02 nats of 0.10 nats", ["within ±0.02 nats of", "0.10 nats"]),
        ("", "no more than 3 and no less than 2", ["no more than 3 and no", "less than 2"]),
    ],
)
def test_words_on_a_margin_leave_room_for_statements(
    unit: str, margin: str, lines: list[str]
) -> None:
    (row,) = decide([LINEAR], make_frame(seeds=2))
    row["measure"]["unit"] = unit
    row["shown"]["margin"] = margin
    output = io.StringIO()
    Console(width=200, file=output).print(claims_table([row]))
    cells = [line.split("│")[2].strip() for line in output.getvalue().splitlines() if "│" in line]
    assert [cell for cell in cells if cell][2:] == lines
