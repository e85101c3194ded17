"""Claims that one value beats another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from mnv2_jax.analysis.claims.base import EVERYWHERE, Claim, Row, Shown
from mnv2_jax.analysis.claims.checks import check_different, check_margin, check_where
from mnv2_jax.analysis.claims.runs import Runs
from mnv2_jax.analysis.decisions import Decision, decide_sign
from mnv2_jax.analysis.stats import Contrast, Scalar
from mnv2_jax.neutral import added, renamed
from mnv2_jax.values import canonical


@dataclass(frozen=True, kw_only=True)
class Greater(Claim):
    """`better` scores better than `worse` on `axis`. Made by `greater`."""

    axis: str
    better: Scalar
    worse: Scalar
    covarying: tuple[str, ...] = renamed((), was="along")
    negligible: float = added(0.0, "0.3")

    kind = "greater"
    estimate = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_different(self.name, "better and worse", self.better, self.worse)
        check_where(self.name, self.where, self.axis)
        check_margin(self.name, self.negligible, self.metric, "negligible", or_none=True)

    def contrasts(self) -> Sequence[Contrast]:
        """See `Claim`."""
        return [Contrast(self.axis, self.better, self.worse, covarying=self.covarying)]

    def decide(self, runs: Runs) -> Decision:
        """See `Claim`."""
        return decide_sign(runs.compare(self.differences(runs)), self.negligible)

    def differences(self, runs: Runs) -> pd.DataFrame:
        """See `Claim`."""
        (one,) = self.contrasts()
        return runs.pairs(one)

    @classmethod
    def shown(cls, row: Row) -> Shown:
        """See `Claim`."""
        shown = super().shown(row)
        shown["kind"] = ""
        return shown


def greater(
    name: str,
    source: str,
    statement: str,
    axis: str,
    better: Scalar,
    worse: Scalar,
    where: Mapping[str, Scalar] = EVERYWHERE,
    metric: str = "test_accuracy",
    covarying: Sequence[str] = (),
    diverged: Literal["chance", "dropped"] = "chance",
    negligible: float = 0.0,
) -> Greater:
    """Claim that `axis = better` has a better mean `metric` than `axis = worse`.

    Supported when the paired difference is above 0 by a two-sided t test at 5 %, refuted when it is
    below, negligible when a 95 % interval lies within +-`negligible`, inconclusive otherwise; the
    other way round for a metric of which less is better.

    `axis` is a field, such as `"model.projection"`. The runs of a pair may differ in the fields
    `covarying`, which the grid varies with `axis`, such as a width that compensates for the cost of
    a block. `negligible` is a difference that would not matter, in the unit of the metric: of an
    accuracy a fraction of 1 (0.005 is half a point); 0 states none. For the other arguments see
    `mnv2_jax.analysis.claims`.

    Raises:
      ValueError: `better` equals `worse`, or `where` restricts `axis` itself.
    """
    return Greater(
        name=name,
        source=source,
        statement=statement,
        where=where,
        metric=metric,
        diverged=diverged,
        negligible=negligible,
        axis=axis,
        better=canonical(better),
        worse=canonical(worse),
        covarying=tuple(covarying),
    )
