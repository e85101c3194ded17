"""Claims that a gain is larger at one value of another field than at a second."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from mnv2_jax.analysis.claims.base import EVERYWHERE, Claim
from mnv2_jax.analysis.claims.checks import check_different, check_margin, check_where
from mnv2_jax.analysis.claims.runs import Runs
from mnv2_jax.analysis.decisions import Decision, decide_sign
from mnv2_jax.analysis.stats import Contrast, Scalar
from mnv2_jax.neutral import added
from mnv2_jax.values import canonical


@dataclass(frozen=True, kw_only=True)
class Interaction(Claim):
    """`better` leads `worse` by more at `by = more` than at `by = less`. Made by `interaction`."""

    axis: str
    better: Scalar
    worse: Scalar
    by: str
    more: Scalar
    less: Scalar
    negligible: float = added(0.0, "0.3")

    kind = "interaction"
    estimate = ""
    reading = (
        "Interaction",
        "A difference of differences: by how much more one value leads at the first setting than "
        "at the second. Decided as “one is better” is.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_different(self.name, "better and worse", self.better, self.worse)
        check_different(self.name, "more and less", self.more, self.less)
        check_different(self.name, "axis and by", self.axis, self.by)
        check_where(self.name, self.where, self.axis, self.by)
        check_margin(self.name, self.negligible, self.metric, "negligible", or_none=True)

    def contrasts(self) -> Sequence[Contrast]:
        """See `Claim`."""
        within = [{self.by: self.more}, {self.by: self.less}]
        gains = [Contrast(self.axis, self.better, self.worse, where) for where in within]
        return [*gains, Contrast(self.by, self.more, self.less)]

    def compared(self) -> Sequence[Mapping[str, Scalar]]:
        """See `Claim`."""
        return [*super().compared(), *self._cells()]

    def decide(self, runs: Runs) -> Decision:
        """See `Claim`."""
        return decide_sign(runs.compare(self.differences(runs)), self.negligible)

    def differences(self, runs: Runs) -> pd.DataFrame:
        """See `Claim`."""
        return runs.weighted(self._cells(), (1, -1, -1, 1))

    def _cells(self) -> list[Mapping[str, Scalar]]:
        cells = itertools.product((self.better, self.worse), (self.more, self.less))
        return [{self.axis: one, self.by: other} for one, other in cells]


def interaction(
    name: str,
    source: str,
    statement: str,
    axis: str,
    better: Scalar,
    worse: Scalar,
    by: str,
    more: Scalar,
    less: Scalar,
    where: Mapping[str, Scalar] = EVERYWHERE,
    metric: str = "test_accuracy",
    diverged: Literal["chance", "dropped"] = "chance",
    negligible: float = 0.0,
) -> Interaction:
    """Claim that `better` gains more over `worse` at `by = more` than at `by = less`.

    The estimate is the difference of the two differences, taken within a seed; it is decided as
    that of `greater`.

    `better` and `worse` are values of the field `axis`, such as `"model.projection"`, `more` and
    `less` of the field `by`, such as `"model.shortcut"`. For `negligible` see `greater`, for the
    other arguments see `mnv2_jax.analysis.claims`.

    Raises:
      ValueError: two values or the two fields are equal, or `where` restricts one of the fields.
    """
    return Interaction(
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
        by=by,
        more=canonical(more),
        less=canonical(less),
    )
