import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mnv2_jax.analysis.claims import Equivalent, equivalent, greater
from mnv2_jax.analysis.verdicts import claims_table, decide
from tests.analysis.synthetic import make_frame, stop

KEYS = {
    *("name", "source", "statement", "metric", "estimate", "ci_low", "ci_high", "confidence"),
    *("kind", "pairs", "seeds", "dropped", "p_value", "verdict"),
}
LINEAR = greater("linear", "Fig. 6a", "Linear is better.", "projection", "linear", "relu6")


def plateau(margin: float = 0.01) -> Equivalent:
    return equivalent(
        "plateau", "section 3.3", "All the same.", "expansion", values=(6, 8, 10), margin=margin
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
        assert {row[key] for key in ("estimate", "ci_low", "ci_high", "p_value")} == {None}
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


def test_no_run_done_and_no_run_at_all(frame: pd.DataFrame) -> None:
    for index in frame.index:
        stop(frame, index)
    (row,) = decide([LINEAR], frame)
    assert (row["pairs"], row["dropped"], row["verdict"]) == (0, 72, "inconclusive")
    (row,) = decide([LINEAR], frame.head(0))
    assert (row["pairs"], row["dropped"], row["verdict"]) == (0, 0, "inconclusive")


def test_decided_claims_are_strict_json(frame: pd.DataFrame) -> None:
    rows = decide([LINEAR, plateau()], frame) + decide([LINEAR], frame[frame["seed"] == 0])
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
    with pytest.raises(ValueError, match="axis 'stride'"):
        decide([greater("x", "", "", "stride", 1, 2)], frame)


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
    assert "margin 1.0 pt" in text
    assert "not measured" in text
    assert "[b]raw[/b]" in text
    for verdict in ("supported", "inconclusive"):
        assert verdict in text
