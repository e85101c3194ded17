from typing import Any

import numpy as np
import pandas as pd
import pytest

from mnv2_jax.analysis import means
from mnv2_jax.analysis.claim_tables import claims_markdown
from mnv2_jax.analysis.claims import Claim, within_of
from mnv2_jax.analysis.html import claim_list
from mnv2_jax.analysis.verdicts import check, decide, undecidable
from tests.analysis.synthetic import make_frame, stop

WHERE = {"model.projection": "linear", "model.shortcut": "bottleneck"}


def level(value: float, margin: float = 0.01, **fields: Any) -> Claim:
    return within_of("level", "theory", "It is what it is.", value, margin, **fields)


def flat(mean: float, noise: float, seeds: int = 6) -> pd.DataFrame:
    frame = make_frame(seeds=seeds)
    rng = np.random.default_rng(0)
    return frame.assign(test_accuracy=mean + rng.normal(0, noise, len(frame)))


@pytest.mark.parametrize(
    ("value", "margin", "noise", "verdict"),
    [
        (0.9, 0.01, 0.01, "supported"),
        (0.9, 0.01, 0.5, "inconclusive"),  # too noisy to say
        (0.88, 0.01, 0.01, "refuted"),
        (0.93, 0.01, 0.01, "refuted"),
        (0.89, 0.0100001, 0.01, "inconclusive"),  # on the margin
        (0.88, 0.03, 0.01, "supported"),
    ],
)
def test_verdicts(value: float, margin: float, noise: float, verdict: str) -> None:
    (row,) = decide([level(value, margin)], flat(0.9, noise))
    assert row["verdict"] == verdict
    assert (row["p_support"] < 0.05) == (verdict == "supported")
    assert (row["value"], row["margin"], row["confidence"]) == (value, margin, 0.90)


def test_seeds_are_averaged_first_and_the_distance_is_told(frame: pd.DataFrame) -> None:
    (row,) = decide([level(0.95, where=WHERE)], frame)
    chosen = frame[(frame["projection"] == "linear") & (frame["shortcut"] == "bottleneck")]
    by_seed = chosen.groupby("seed")["test_accuracy"].mean().to_numpy() - 0.95
    expected = means.t_interval(by_seed, 0.90)
    numbers = (row["estimate"], row["ci_low"], row["ci_high"])
    assert numbers == pytest.approx((expected.estimate, expected.low, expected.high))
    inside = means.over_seeds(by_seed).p_above(-0.01), means.over_seeds(by_seed).p_below(0.01)
    assert row["p_support"] == pytest.approx(max(inside))
    assert (row["pairs"], row["dropped"], row["seeds"]) == (36, 0, 6)


def test_it_needs_no_pairs() -> None:
    alone = make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",))
    (row,) = decide([level(0.89, 0.05)], alone)
    assert (row["pairs"], row["verdict"]) == (6, "supported")
    assert undecidable([level(0.9)], alone.to_dict("records")) == []
    assert undecidable([level(0.9, where={"expansion": 7})], alone.to_dict("records")) == [
        "claim 'level' cannot be decided: no run has expansion 7"
    ]


def test_runs_that_did_not_finish_are_left_out_and_counted(frame: pd.DataFrame) -> None:
    stop(frame, 0)
    stop(frame, 1, "failed")
    (row,) = decide([level(0.9, 0.1)], frame)
    assert (row["pairs"], row["dropped"]) == (142, 2)
    assert row["notes"][0] == "2 of 144 runs are left out: they did not finish."
    (row,) = decide([level(0.9)], frame[frame["seed"] == 2])
    assert (row["verdict"], row["ci_low"]) == ("inconclusive", None)
    assert row["notes"] == ["One seed gives no interval."]
    (row,) = decide([level(0.9)], frame.head(0))
    assert (row["estimate"], row["verdict"]) == (None, "inconclusive")


def test_a_loss_is_within_of_a_number_of_nats() -> None:
    frame = make_frame()
    mean = frame["test_loss"].mean()
    (row,) = decide([level(mean + 0.02, 0.05, metric="test_loss")], frame)
    assert row["verdict"] == "supported"
    assert row["estimate"] == pytest.approx(-0.02)
    assert row["shown"]["margin"] == f"within ±0.050 nats of {mean + 0.02:.3f} nats"


def test_its_margin_is_shown_beside_the_value(frame: pd.DataFrame) -> None:
    rows = decide([level(0.95, where=WHERE)], frame)
    assert "| 36 of 36 runs |" in claims_markdown(rows)
    html = claim_list.claims(rows) + claim_list.reading(rows)
    for words in ("within ±1.0 pt of 95.0 %", "within_of test accuracy", "<dt>Within of</dt>"):
        assert words in html
    assert rows[0]["shown"]["band"] == [-0.01, 0.01]


@pytest.mark.parametrize("value", [87.3, -0.1, float("nan")])
def test_a_value_that_cannot_be_meant_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"claim .level.: value .*; must be a fraction between"):
        level(value)
    with pytest.raises(ValueError, match=r"margin 0; must be a fraction between 0 and 1"):
        level(0.9, 0)
    assert level(87.3, 2, metric="test_loss")
    assert level(-87.3, 2, metric="test_log_likelihood")
    with pytest.raises(ValueError, match="value inf; must be a number"):
        level(float("inf"), metric="test_loss")
    with pytest.raises(ValueError, match="claim 'level': where names 'depth'"):
        check([level(0.9, where={"depth": 1})], make_frame().columns)
