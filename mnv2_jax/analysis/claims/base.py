"""The base of all kinds of claims."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypedDict

import pandas as pd

from mnv2_jax.analysis import power, units
from mnv2_jax.analysis.claims import remarks
from mnv2_jax.analysis.claims.runs import CHANCE, DROPPED, Runs
from mnv2_jax.analysis.decisions import Decision
from mnv2_jax.analysis.stats import Contrast, Scalar
from mnv2_jax.neutral import added
from mnv2_jax.values import canonical

Row = Mapping[str, Any]
"""A decided claim, as `mnv2_jax.analysis.verdicts.decide` returns it."""

IN_ROWS = ("name", "source", "statement", "metric")
"""The fields of a claim that its row has by these names."""

EVERYWHERE: Mapping[str, Scalar] = MappingProxyType({})


class Shown(TypedDict):
    """The format of a decided claim. Rows hold it, so that their readers need not know the kind.

    Attributes:
      kind: goes before the metric, such as "equivalent"; may be empty.
      estimate: the noun of the estimate in a sentence; "" if a supported claim says that one value
        is better, so that "by" may stand before it.
      margin: what counts as no difference, in words; may be empty.
      band: ends of the range that the estimate is claimed to lie in; or None.
      counted: what an estimate is made of, "pairs" or "runs".
      seeds_for: what `seeds_needed` is for: the "difference seen", or the "margin".
      reading: a term and its explanation for readers of the report; or None.
    """

    kind: str
    estimate: str
    margin: str
    band: list[float] | None
    counted: str
    seeds_for: str
    reading: list[str] | None


@dataclass(frozen=True, kw_only=True)
class Claim(abc.ABC):
    """A statement and the comparison that decides it. A subclass is a kind of claim.

    A kind defines `contrasts` or `compared`, the values that it is about, and `decide`; all else
    has a default. It is a frozen dataclass, whose fields JSON can hold:

        @dataclass(frozen=True, kw_only=True)
        class Above(Claim):
            bound: float
            kind = "above"
            counted = "runs"

            def decide(self, runs):
                return decide_sign(runs.compare(runs.distances(self.bound)))

    Its first six fields are those that `mnv2_jax.analysis.claims` describes.

    Class attributes:
      kind: name of the kind.
      confidence: of the interval that is reported.
      in_rows: fields of the claim that rows hold too.
      estimate: see `Shown`.
      counted: see `Shown`.
      reading: see `Shown`.

    Raises:
      TypeError: a subclass has no `kind`.
    """

    name: str
    source: str
    statement: str
    where: Mapping[str, Scalar] = field(default_factory=dict)
    metric: str = "test_accuracy"
    diverged: Literal["chance", "dropped"] = added(CHANCE, "0.3")

    kind: ClassVar[str]
    confidence: ClassVar[float] = 0.95
    in_rows: ClassVar[Sequence[str]] = ()
    estimate: ClassVar[str] = "difference"
    counted: ClassVar[str] = "pairs"
    reading: ClassVar[tuple[str, str] | None] = None

    def __init_subclass__(cls) -> None:
        if not isinstance(getattr(cls, "kind", None), str):
            raise TypeError(f'{cls.__name__}: expected a name, such as kind = "greater"')

    def __post_init__(self) -> None:
        where = {name: canonical(value) for name, value in self.where.items()}
        object.__setattr__(self, "where", where)
        if self.diverged not in (CHANCE, DROPPED):
            known = f"{CHANCE!r} or {DROPPED!r}"
            raise ValueError(f"claim {self.name!r}: diverged {self.diverged!r}; must be {known}")

    def record(self) -> dict[str, Any]:
        """Return the fields that rows do not have already, as JSON values."""
        fields = dataclasses.asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
            if name not in IN_ROWS
        }

    def contrasts(self) -> Sequence[Contrast]:
        """Return the contrasts that need pairs of runs."""
        return ()

    def compared(self) -> Sequence[Mapping[str, Scalar]]:
        """Return the values of fields, alone or together, that need runs."""
        sides = [{one.axis: value} for one in self.contrasts() for value in (one.better, one.worse)]
        return [side for place, side in enumerate(sides) if side not in sides[:place]]

    def runs(self, frame: pd.DataFrame, *, anytime: bool = False) -> Runs:
        """Return the runs that the claim is about, of a table as `tables.read_results` returns.

        Args:
          frame: the table.
          anytime: see `mnv2_jax.analysis.decisions.Comparison`.
        """
        fields = [name for values in self.compared() for name in values]
        return Runs(frame, self.where, self.metric, fields, self.diverged, anytime=anytime)

    @abc.abstractmethod
    def decide(self, runs: Runs) -> Decision:
        """Test the claim by its runs; without runs, or seeds, p values are NaN.

        Raises:
          ValueError: the results lack a column that the claim names.
        """

    def differences(self, runs: Runs) -> pd.DataFrame | None:
        """Return the pairs whose differences are drawn along the main axis, or None."""
        return None

    def design(self, decision: Decision) -> dict[str, float | int | None]:
        """Return what a repetition of the design could detect; see `power.design`."""
        return power.design(decision.reported)

    def remarks(self, row: Row, decision: Decision) -> list[str]:
        """Return further notes on the decided claim, which has two or more seeds."""
        return remarks.on_difference(row)

    @classmethod
    def shown(cls, row: Row) -> Shown:
        """Return the format of a decided claim; called on `Claim` if its kind is unknown."""
        return Shown(
            kind=row["kind"],
            estimate=cls.estimate,
            margin="",
            band=None,
            counted=cls.counted,
            seeds_for="difference seen",
            reading=list(cls.reading) if cls.reading else None,
        )


def within_margin(shown: Shown, row: Row, words: str) -> Shown:
    """Return the format of a claim that an estimate lies within `row["margin"]`.

    `words` has `{}` in the place of the margin.
    """
    margin, measure = row["margin"], units.measure_of_row(row)
    words = words.format(units.with_unit(measure.size(margin), measure.of_differences))
    return {**shown, "margin": words, "band": [-margin, margin], "seeds_for": "margin"}
