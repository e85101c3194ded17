"""Claims that one value beats another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mnv2_jax.analysis.claims.base import EVERYWHERE, Claim, Row, Shown
from mnv2_jax.analysis.claims.checks import check_different, check_where
from mnv2_jax.analysis.claims.runs import Contrast, Runs
from mnv2_jax.analysis.decisions import Decision, decide_sign
from mnv2_jax.analysis.stats import Scalar
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

    Args:
      name: short and unique, such as `"linear_bottleneck"`.
      source: section or figure of the paper, such as `"Figure 6a"`.
      statement: one sentence, as the reader of the report sees it.
      axis: the field that is compared, such as `"model.projection"`.
      better: value of `axis` that is claimed to win.
      worse: value of `axis` that is claimed to lose.
      where: values of fields that restrict the comparison; without `transfer.phase` here or as a
          compared field, runs of pretraining are left out.
      metric: the column of a metric, such as `"test_loss"`.
      covarying: fields that the grid varies with `axis`, such as a width that makes up for what a
        block costs: the runs of a pair may differ in them, and need not.

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
