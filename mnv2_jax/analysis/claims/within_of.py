"""Claims that a metric has a value that was stated beforehand, such as by a theory."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mnv2_jax import schema
from mnv2_jax.analysis import power, units
from mnv2_jax.analysis.claims import remarks
from mnv2_jax.analysis.claims.base import EVERYWHERE, Claim, Row, Shown, within_margin
from mnv2_jax.analysis.claims.checks import check_margin
from mnv2_jax.analysis.claims.runs import Runs
from mnv2_jax.analysis.decisions import TEST, Decision, decide_equivalent
from mnv2_jax.analysis.stats import Scalar


@dataclass(frozen=True, kw_only=True)
class WithinOf(Claim):
    """The mean of the metric lies within `margin` of `value`. Made by `within_of`."""

    value: float
    margin: float

    kind = "within_of"
    confidence = TEST  # TOST at 5 % asks whether the 90 % interval lies inside the margin.
    in_rows = ("value", "margin")
    estimate = "distance from it"
    counted = "runs"
    reading = (
        "Within of",
        "Shown is the mean over all runs of which the claim speaks, averaged within each seed "
        "first, minus the stated value. Supported when two one-sided t tests place it inside the "
        "margin, refuted when one places it outside.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_margin(self.name, self.margin, self.metric)
        is_fraction = units.measure_of(schema.column(self.metric)).is_fraction
        if not (0 <= self.value <= 1 if is_fraction else math.isfinite(self.value)):
            expected = "a fraction between 0 and 1" if is_fraction else "a number"
            raise ValueError(f"claim {self.name!r}: value {self.value!r}; must be {expected}")

    def decide(self, runs: Runs) -> Decision:
        """See `Claim`."""
        return decide_equivalent([runs.compare(runs.distances(self.value))], self.margin)

    def design(self, decision: Decision) -> dict[str, float | int | None]:
        """See `Claim`."""
        return power.design_within(decision.comparisons, self.margin)

    def remarks(self, row: Row, decision: Decision) -> list[str]:
        """See `Claim`."""
        return remarks.on_margin(row)

    @classmethod
    def shown(cls, row: Row) -> Shown:
        """See `Claim`."""
        stated = units.measure_of_row(row).value(row["value"])
        return within_margin(super().shown(row), row, f"within ±{{}} of {stated}")


def within_of(
    name: str,
    source: str,
    statement: str,
    value: float,
    margin: float,
    where: Mapping[str, Scalar] = EVERYWHERE,
    metric: str = "test_accuracy",
    diverged: Literal["chance", "dropped"] = "chance",
) -> WithinOf:
    """Claim that the mean of `metric` over runs equals `value`, to within `margin`.

    Tested by TOST at 5 %: supported when the 90 % interval over seeds lies inside value +- margin,
    refuted when it lies wholly outside, inconclusive otherwise. Runs need no pairs; those of one
    seed are averaged first. Unlike in a difference, what all seeds have in common does not cancel.

    `value` and `margin`, the largest distance that counts as none, are in the unit of the metric:
    of an accuracy a fraction of 1. For the other arguments see `mnv2_jax.analysis.claims`.

    Raises:
      ValueError: a value or margin that is no number, or no fraction where the metric is one.
    """
    return WithinOf(
        name=name,
        source=source,
        statement=statement,
        where=where,
        metric=metric,
        diverged=diverged,
        value=value,
        margin=margin,
    )
