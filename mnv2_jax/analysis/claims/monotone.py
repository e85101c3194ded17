"""Claims that a metric gets better step by step along an axis."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mnv2_jax.analysis import units
from mnv2_jax.analysis.claims import remarks
from mnv2_jax.analysis.claims.base import EVERYWHERE, Claim, Row, Shown
from mnv2_jax.analysis.claims.checks import check_margin, check_values, check_where
from mnv2_jax.analysis.claims.runs import Runs
from mnv2_jax.analysis.decisions import SUPPORTED, TEST, Comparison, Decision, decide_monotone
from mnv2_jax.analysis.stats import Contrast, Scalar
from mnv2_jax.values import canonical


@dataclass(frozen=True, kw_only=True)
class Monotone(Claim):
    """The score gets better with `axis`, value by value. Made by `monotone`."""

    axis: str
    values: tuple[Scalar, ...]
    margin: float

    kind = "monotone"
    in_rows = ("margin",)
    estimate = "change from the first value to the last"
    reading = (
        "Monotone",
        "Shown is the rise from the first value to the last. Supported when it is above zero by a "
        "two-sided t test and no step falls by more than is allowed by one-sided ones: p is the "
        "largest. Refuted by one step, or the whole, that falls: p is the smallest, times their "
        "number (Bonferroni).",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(self.name, self.values)
        check_margin(self.name, self.margin, self.metric, or_none=True)
        check_where(self.name, self.where, self.axis)

    def contrasts(self) -> Sequence[Contrast]:
        """Return the steps, then the whole rise."""
        pairs = [*itertools.pairwise(self.values), (self.values[0], self.values[-1])]
        return [Contrast(self.axis, later, earlier) for earlier, later in pairs]

    def compared(self) -> Sequence[Mapping[str, Scalar]]:
        """See `Claim`."""
        return [{self.axis: value} for value in self.values]

    def decide(self, runs: Runs) -> Decision:
        """See `Claim`."""
        *steps, whole = [runs.compare(runs.pairs(one), str(one)) for one in self.contrasts()]
        return decide_monotone(whole, steps, self.margin)

    def remarks(self, row: Row, decision: Decision) -> list[str]:
        """See `Claim`."""
        weakest, measure = [], units.measure_of_row(row)
        if decision.weakest is not None and row["verdict"] != SUPPORTED:
            way = "rise" if measure.sign > 0 else "fall"
            weakest = [f"Furthest from a {way}: {_change(decision.weakest, measure)}."]
        return [*weakest, *remarks.on_difference(row)]

    @classmethod
    def shown(cls, row: Row) -> Shown:
        """See `Claim`."""
        measure = units.measure_of_row(row)
        against = "falls" if measure.sign > 0 else "rises"
        margin = units.with_unit(measure.size(row["margin"]), measure.of_differences)
        shown = super().shown(row)
        shown["margin"] = f"{against} up to {margin}" if row["margin"] else f"no {against}"
        return shown


def monotone(
    name: str,
    source: str,
    statement: str,
    axis: str,
    values: Sequence[Scalar],
    margin: float = 0.0,
    where: Mapping[str, Scalar] = EVERYWHERE,
    metric: str = "test_accuracy",
    diverged: Literal["chance", "dropped"] = "chance",
) -> Monotone:
    """Claim that `metric` rises along `values` and from none to the next falls by over `margin`.

    Supported when the 95 % interval of the rise from the first value to the last lies above 0 and
    every step passes a one-sided t test at 5 % against a fall of `margin` (an intersection-union
    test: no correction for the number of steps is due). Refuted when the interval of the whole rise
    lies below 0, or that of a step wholly below -margin; as any of them could by chance, they are
    wider the more there are (Bonferroni: of 95 % for two values, where the step is the whole, and
    96.7 % for three). Inconclusive otherwise. A metric of which less is better is claimed to fall,
    and no step to rise by over `margin`.

    `axis` is a field, such as `"model.expansion"`. `margin` is in the unit of the metric: of an
    accuracy a fraction of 1 (0.01 is one point). For the other arguments see
    `mnv2_jax.analysis.claims`.

    Raises:
      ValueError: fewer than two different values, a margin below 0, or of 1 or more where the
        metric is a fraction, or `where` restricts `axis` itself.
    """
    return Monotone(
        name=name,
        source=source,
        statement=statement,
        where=where,
        metric=metric,
        diverged=diverged,
        axis=axis,
        values=tuple(map(canonical, values)),
        margin=margin,
    )


def _change(one: Comparison, measure: units.Measure) -> str:
    interval = one.interval(TEST)
    low, high = measure.signed(interval.low), measure.signed(interval.high)
    change = f"{measure.signed(interval.estimate)} [{low}, {high}]"
    return f"{one.name}, {units.with_unit(change, measure.in_sentences)} (90 %)"
