"""Claims that one value beats another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mnv2_jax.analysis.claims.base import EVERYWHERE, Claim, Row, Shown
from mnv2_jax.analysis.claims.checks import check_different, check_where
from mnv2_jax.analysis.claims.runs import Runs
from mnv2_jax.analysis.decisions import Decision, decide_sign
from mnv2_jax.analysis.stats import Contrast, Scalar
from mnv2_jax.neutral import renamed
from mnv2_jax.values import canonical


@dataclass(frozen=True, kw_only=True)
class Greater(Claim):
    """`better` scores better than `worse` on `axis`. Made by `greater`."""

    axis: str
    better: Scalar
    worse: Scalar
    covarying: tuple[str, ...] = renamed((), was="along")

    kind = "greater"
    estimate = ""
    two_sided = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_different(self.name, "better and worse", self.better, self.worse)
        check_where(self.name, self.where, self.axis)

    def contrasts(self) -> Sequence[Contrast]:
        """See `Claim`."""
        return [Contrast(self.axis, self.better, self.worse, covarying=self.covarying)]

    def decide(self, runs: Runs) -> Decision:
        """See `Claim`."""
        return decide_sign(runs.compare(self.differences(runs)))

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
) -> Greater:
    """Claim that `axis = better` has a better mean `metric` than `axis = worse`.

    Supported when the 95 % interval of the paired difference lies above 0, refuted when it lies
    below, inconclusive otherwise; the other way round for a metric of which less is better.

    `axis` is a field, such as `"model.projection"`. The runs of a pair may differ in the fields
    `covarying`, which the grid varies with `axis`, such as a width that compensates for the cost of
    a block. For the other arguments see `mnv2_jax.analysis.claims`.

    Raises:
      ValueError: `better` equals `worse`, or `where` restricts `axis` itself.
    """
    return Greater(
        name=name,
        source=source,
        statement=statement,
        where=where,
        metric=metric,
        axis=axis,
        better=canonical(better),
        worse=canonical(worse),
        covarying=tuple(covarying),
    )
