"""The base of all kinds of claims: statement, comparison with runs, wording and drawing."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, TypedDict

import numpy as np
import pandas as pd

from mnv2_jax.analysis import power, units
from mnv2_jax.analysis.claims import remarks
from mnv2_jax.analysis.claims.runs import Contrast, Runs
from mnv2_jax.analysis.decisions import REFUTED, SUPPORTED, Decision
from mnv2_jax.analysis.stats import Scalar
from mnv2_jax.values import canonical

Row = Mapping[str, Any]
"""A decided claim, as `mnv2_jax.analysis.verdicts.decide` returns it."""

EVERYWHERE: Mapping[str, Scalar] = MappingProxyType({})


class Shown(TypedDict):
    """The way that a decided claim is shown. Rows hold it, so that kinds may be unknown.

    Attributes:
      kind: what goes before the metric, such as "equivalent"; may be empty.
      margin: what counts as no difference, in words; empty where nothing does.
      band: ends of the range that an estimate is claimed to lie in, drawn behind it; or None.
      counted: what an estimate is made of, "pairs" or "runs".
      seeds_for: what `seeds_needed` is for: the "difference seen", or the "margin".
      p_for: the verdicts that p is about.
      reading: a term and its explanation, for readers of the report; or None.
    """

    kind: str
    margin: str
    band: list[float] | None
    counted: str
    seeds_for: str
    p_for: list[str]
    reading: list[str] | None


@dataclass(frozen=True, kw_only=True)
class Claim(abc.ABC):
    """A statement and the comparison that decides it. A subclass is a kind of claim.

    A kind says by `contrasts` or `compared` what it speaks of, and by `decide` what supports and
    what refutes it; all else has a default. It is a frozen dataclass, whose fields JSON can hold:

        @dataclass(frozen=True, kw_only=True)
        class Above(Claim):
            bound: float
            kind = "above"
            counted = "runs"

            def decide(self, runs):
                return decide_sign(runs.compare(runs.distances(self.bound)))

    Attributes:
      name: short and unique.
      source: section or figure of the paper.
      statement: one sentence, as the reader of the report sees it.
      where: values of fields that restrict the comparison.
      metric: the column of a metric.

    Class attributes:
      kind: name of the kind.
      confidence: of the interval that is reported.
      in_rows: fields of the claim that rows hold too.
      counted: see `Shown`.
      two_sided: whether p is small for what refutes the claim as well.
      reading: see `Shown`.

    Raises:
      TypeError: a subclass has no `kind`.
    """

    name: str
    source: str
    statement: str
    where: Mapping[str, Scalar] = field(default_factory=dict)
    metric: str = "test_accuracy"

    kind: ClassVar[str]
    confidence: ClassVar[float] = 0.95
    in_rows: ClassVar[Sequence[str]] = ()
    counted: ClassVar[str] = "pairs"
    two_sided: ClassVar[bool] = False
    reading: ClassVar[tuple[str, str] | None] = None

    def __init_subclass__(cls) -> None:
        if not isinstance(getattr(cls, "kind", None), str):
            raise TypeError(f'{cls.__name__}: expected a name, such as kind = "greater"')

    def __post_init__(self) -> None:
        where = {name: canonical(value) for name, value in self.where.items()}
        object.__setattr__(self, "where", where)

    def contrasts(self) -> Sequence[Contrast]:
        """Return the values that must have pairs of runs for the claim to be decided."""
        return ()

    def compared(self) -> Sequence[Mapping[str, Scalar]]:
        """Return the values of fields, alone or together, that the claim needs runs with."""
        sides = [{one.axis: value} for one in self.contrasts() for value in (one.better, one.worse)]
        return [side for place, side in enumerate(sides) if side not in sides[:place]]

    def runs(self, frame: pd.DataFrame) -> Runs:
        """Return the runs that the claim speaks of.

        Args:
          frame: one row per run, as `records.read_results` returns it.
        """
        fields = [name for values in self.compared() for name in values]
        return Runs(frame, self.where, self.metric, fields)

    @abc.abstractmethod
    def decide(self, runs: Runs) -> Decision:
        """Hold the claim against its runs; without runs, or seeds, it is inconclusive.

        Raises:
          ValueError: the results lack a column that the claim names.
        """

    def differences(self, runs: Runs) -> pd.DataFrame | None:
        """Return the pairs whose differences are drawn along the main axis, if they are drawn."""
        return None

    def design(self, means: np.ndarray) -> dict[str, float | int | None]:
        """Return what a repetition of the design could see; see `power.design`."""
        return power.design(means)

    def remarks(self, row: Row, decision: Decision) -> list[str]:
        """Return sentences on the decided claim that numbers do not say, for two or more seeds."""
        return remarks.on_difference(row)

    @classmethod
    def shown(cls, row: Row) -> Shown:
        """Return how a decided claim is shown; called on `Claim` for kinds that are unknown."""
        return Shown(
            kind=row["kind"],
            margin="",
            band=None,
            counted=cls.counted,
            seeds_for="difference seen",
            p_for=[SUPPORTED, REFUTED] if cls.two_sided else [SUPPORTED],
            reading=list(cls.reading) if cls.reading else None,
        )


def within_margin(shown: Shown, row: Row, words: str) -> Shown:
    """Return how a claim is shown that says of an estimate that it lies within its margin.

    Args:
      shown: as `Claim.shown` returns it.
      row: has a `margin`.
      words: on the margin, with `{}` in its place.
    """
    margin = row["margin"]
    measure = units.measure_of_row(row)
    size = units.with_unit(measure.size(margin), measure.of_differences)
    return {
        **shown,
        "margin": words.format(size),
        "band": [-margin, margin],
        "seeds_for": "margin",
    }
