import itertools
from typing import Any

import pandas as pd
import pytest

from mnv2_jax.analysis import coverage, means
from mnv2_jax.analysis.claim_tables import claims_markdown
from mnv2_jax.analysis.claims import Claim, contrast, interaction, recorded
from mnv2_jax.analysis.html import claim_list
from mnv2_jax.analysis.verdicts import decide
from tests.analysis.synthetic import make_frame, stop

PROJECTION, SHORTCUT = "model.projection", "model.shortcut"
HALF = (
    (1.0, {"model.expansion": 4.0}),
    (-0.5, {"model.expansion": 1.0}),
    (-0.5, {"model.expansion": 10.0}),
)


def half(**fields: Any) -> Claim:
    return contrast("half", "here", "Half of the way is gone at expansion 4.", HALF, **fields)


def test_it_is_the_weighted_sum_within_each_seed(frame: pd.DataFrame) -> None:
    (row,) = decide([half()], frame)
    by_expansion = frame.groupby(["seed", "expansion"])["test_accuracy"].mean().unstack()
    by_seed = by_expansion[4.0] - (by_expansion[1.0] + by_expansion[10.0]) / 2
    expected = means.t_interval(by_seed.to_numpy(), 0.95)
    numbers = (row["estimate"], row["ci_low"], row["ci_high"])
    assert numbers == pytest.approx((expected.estimate, expected.low, expected.high))
    assert (row["pairs"], row["dropped"], row["seeds"]) == (24, 0, 6)
    assert row["verdict"] == "supported"
    (restricted,) = decide([half(where={PROJECTION: "linear", SHORTCUT: "none"})], frame)
    assert restricted["pairs"] == 6


def test_four_cells_are_an_interaction(frame: pd.DataFrame) -> None:
    sides = itertools.product(("linear", "relu6"), ("none", "bottleneck"))
    cells = [{PROJECTION: one, SHORTCUT: by} for one, by in sides]
    weights = list(zip((1, -1, -1, 1), cells, strict=True))
    more = interaction("i", "", "", PROJECTION, "linear", "relu6", SHORTCUT, "none", "bottleneck")
    rows = [decide([claim], frame)[0] for claim in (contrast("c", "", "", weights), more)]
    for name in ("estimate", "ci_low", "ci_high", "p_value", "pairs", "verdict", "seeds"):
        assert rows[0][name] == rows[1][name]


def test_a_sum_without_one_of_its_runs_is_left_out(frame: pd.DataFrame) -> None:
    lost = frame.copy()
    chosen = {"seed": 0, "expansion": 4.0, "projection": "linear"}
    for index in lost.index[(lost[list(chosen)] == pd.Series(chosen)).all(axis=1)]:
        stop(lost, index)
    (row,) = decide([half(diverged="dropped")], lost)
    assert (row["pairs"], row["dropped"]) == (22, 2)
    absent = frame[frame["expansion"] != 4.0]
    (row,) = decide([half()], absent)
    assert (row["pairs"], row["verdict"]) == (0, "inconclusive")
    assert coverage.absent(half(), absent) == ["expansion 4"]


def test_lower_is_better_of_a_loss(frame: pd.DataFrame) -> None:
    (row,) = decide([half(metric="test_loss")], frame)
    assert row["estimate"] < 0
    assert row["verdict"] == "supported"


def test_it_is_recorded_and_read(frame: pd.DataFrame) -> None:
    (row,) = decide([half()], frame)
    assert recorded(row) == half()
    assert "weighted difference" in claim_list.sentence(row)[0]
    assert "24 of 24" in claims_markdown([row])


@pytest.mark.parametrize(
    ("weights", "where", "message"),
    [
        (HALF[:1], {}, r"must be two or more, all different"),
        ((HALF[0], HALF[0]), {}, r"must be two or more, all different"),
        (((1, {PROJECTION: "linear"}), HALF[1]), {}, r"must name the same fields"),
        (HALF[:2], {}, r"weights \(1\.0, -0\.5\); must be a number other than 0 for each cell"),
        ((*HALF[:2], (0.0, HALF[2][1])), {}, r"must be a number other than 0"),
        (((float("nan"), HALF[0][1]), HALF[1]), {}, r"must be a number other than 0"),
        (HALF, {"model.expansion": 4}, r"where restricts the compared axis 'model.expansion'"),
    ],
)
def test_wrong_ones_are_refused(weights: Any, where: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^claim 'wrong': .*" + message):
        contrast("wrong", "", "", weights, where)


def test_cells_may_have_no_runs_of_some_settings() -> None:
    """A reference that lacks a setting makes no sums there, and is told as dropped."""
    frame = make_frame()
    frame = frame[~((frame["expansion"] == 10.0) & (frame["shortcut"] == "none"))]
    (row,) = decide([half()], frame)
    assert (row["pairs"], row["dropped"]) == (12, 12)
