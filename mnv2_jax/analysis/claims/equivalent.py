"""Claims that values are equivalent, to within a margin."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mnv2_jax.analysis import power
from mnv2_jax.analysis.claims import remarks
from mnv2_jax.analysis.claims.base import EVERYWHERE, Claim, Row, Shown, within_margin
from mnv2_jax.analysis.claims.checks import check_margin, check_values, check_where
from mnv2_jax.analysis.claims.runs import Runs
from mnv2_jax.analysis.decisions import TEST, Decision, decide_equivalent
from mnv2_jax.analysis.stats import Contrast, Scalar
from mnv2_jax.values import canonical


@dataclass(frozen=True, kw_only=True)
class Equivalent(Claim):
    """All `values` of `axis` score within `margin` of each other. Made by `equivalent`."""

    axis: str
    values: tuple[Scalar, ...]
    margin: float

    kind = "equivalent"
    confidence = TEST  # TOST at 5 % asks whether the 90 % interval lies inside the margin.
    in_rows = ("margin",)
    estimate = "largest difference"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(self.name, self.values)
        check_margin(self.name, self.margin, self.metric)
        check_where(self.name, self.where, self.axis)

    def contrasts(self) -> Sequence[Contrast]:
        """See `Claim`."""
        pairs = itertools.combinations(self.values, 2)
        return [Contrast(self.axis, later, earlier) for earlier, later in pairs]

    def compared(self) -> Sequence[Mapping[str, Scalar]]:
        """See `Claim`."""
        return [{self.axis: value} for value in self.values]

    def decide(self, runs: Runs) -> Decision:
        """See `Claim`."""
        comparisons = [runs.compare(runs.pairs(one), str(one)) for one in self.contrasts()]
        return decide_equivalent(comparisons, self.margin)

    def design(self, decision: Decision) -> dict[str, float | int | None]:
        """See `Claim`."""
        return power.design_within(decision.comparisons, self.margin)

    def remarks(self, row: Row, decision: Decision) -> list[str]:
        """See `Claim`."""
        return remarks.on_margin(row)

    @classmethod
    def shown(cls, row: Row) -> Shown:
        """See `Claim`."""
        return within_margin(super().shown(row), row, "margin ±{}")


def equivalent(
    name: str,
    source: str,
    statement: str,
    axis: str,
    values: Sequence[Scalar],
    margin: float,
    where: Mapping[str, Scalar] = EVERYWHERE,
    metric: str = "test_accuracy",
    diverged: Literal["chance", "dropped"] = "chance",
) -> Equivalent:
    """Claim that every two `values` of `axis` differ by less than `margin` in `metric`.

    Each pair of values is tested by TOST at 5 %. The claim says that all are close, so it is
    supported only if every test passes (an intersection-union test: no correction for the number
    of pairs is due). Refuted if the interval of some pair lies wholly outside +-margin: of 90 %
    for two values, and wider the more pairs there are, as any of them could by chance (Bonferroni:
    96.7 % for three).

    `axis` is a field, such as `"model.expansion"`. `margin`, the largest difference that counts as
    none, is in the unit of the metric: of an accuracy a fraction of 1 (0.01 is one point). For the
    other arguments see `mnv2_jax.analysis.claims`.

    Raises:
      ValueError: fewer than two different values, a margin of 0 or less, or of 1 or more where
        the metric is a fraction, or `where` restricts `axis` itself.
    """
    return Equivalent(
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
