"""From paired comparisons to verdicts: what supports a claim of each kind, and what refutes it.

To support a claim that says several things, each of them is tested at 5 %: all must hold, so no
correction is due (an intersection-union test). To refute it one of them is enough, and the more
there are, the sooner one looks wrong by chance: the 5 % are shared between them (Bonferroni), by
intervals that are wider by as much.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis import records, resampling, stats
from mnv2_jax.analysis.claims import Claim, Equivalent, Greater, Interaction, Monotone
from mnv2_jax.analysis.records import PHASE, PRETRAINING
from mnv2_jax.analysis.stats import Interval

SUPPORTED, REFUTED, INCONCLUSIVE = "supported", "refuted", "inconclusive"

_TEST = 0.90  # Of an interval whose end is that of a one-sided test at 5 %.


@dataclass(frozen=True)
class Comparison:
    """One paired comparison: a number per seed, and how many pairs it was made of."""

    means: np.ndarray  # (seeds,), the mean difference of each seed
    pairs: int
    dropped: int
    name: str = ""
    alone: int = 0  # of those dropped, pairs that no seed has all runs of

    def interval(self, confidence: float) -> Interval:
        """Its t interval over seeds."""
        return stats.t_interval(self.means, confidence)


@dataclass(frozen=True)
class Decision:
    """What the comparisons of a claim say.

    Attributes:
      verdict: supported, refuted or inconclusive.
      p_value: of the test whose rejection supports the claim (for one comparison: two-sided).
      reported: the comparison whose estimate stands for the claim.
      every: all comparisons that it rests on.
      refuting: confidence of the intervals of which one refutes when it lies wholly outside.
      weakest: of several comparisons, the one that speaks most against the claim.
    """

    verdict: str
    p_value: float
    reported: Comparison
    every: Sequence[Comparison]
    refuting: float
    weakest: Comparison | None = None


def decide(claim: Claim, frame: pd.DataFrame) -> Decision:
    """Holds one claim against the results.

    Raises:
      ValueError: the claim names a column that the results lack.
    """
    if isinstance(claim, Greater | Interaction):
        return decide_sign(_comparison(differences(claim, frame), ""))
    every = [_compare(claim, frame, later, earlier) for earlier, later in _two_by_two(claim)]
    if isinstance(claim, Equivalent):
        return decide_equivalent(every, claim.margin)
    *steps, whole = every
    return decide_monotone(whole, steps, claim.margin)


def differences(claim: Greater | Interaction, frame: pd.DataFrame) -> pd.DataFrame:
    """The pairs that a claim rests on; see `stats.paired_differences`, `stats.paired_interactions`.

    Raises:
      ValueError: the claim names a column that the results lack.
    """
    found, frame = _held_against(claim, frame)
    if isinstance(claim, Greater):
        return stats.paired_differences(
            frame, found.axis, found.better, found.worse, found.where, found.metric, found.along
        )
    return stats.paired_interactions(
        frame,
        (found.axis, found.better, found.worse),
        (found.by, found.more, found.less),
        found.where,
        found.metric,
    )


def absent(claim: Claim, frame: pd.DataFrame) -> list[str]:
    """What a claim speaks of and no run has, such as `projection relu6`.

    Values that some runs have, but none of those that the claim's `where` leaves, are given with
    it: `transfer.norm inference where transfer.phase finetuning`.

    Args:
      claim: made by the functions of `mnv2_jax.analysis.claims`.
      frame: one row per run; only columns that the claim names, and the phase, are read.

    Raises:
      ValueError: the claim names a column that the results lack.
    """
    found, runs = _held_against(claim, frame)
    # Named where it is what takes the values away.
    aside = f"{PHASE} is not {PRETRAINING}" if len(runs) < len(frame) else ""
    where = list(found.where.items())
    sides: list[list[_Pair]] = [[pair] for pair in _compared(found)]
    anywhere = [[pair] for pair in where] + sides
    missing = [_named(pairs) for pairs in anywhere if not _any_run(frame, pairs)]
    if missing:
        return list(dict.fromkeys(missing))
    if isinstance(found, Interaction):
        cells = itertools.product((found.better, found.worse), (found.more, found.less))
        sides += [[(found.axis, one), (found.by, other)] for one, other in cells]
    if not _any_run(runs, where):
        return [_named(where, aside)]
    # What is missing by itself is not said again of the pairs that it is in.
    gone: list[list[_Pair]] = []
    for pairs in sides:
        if not _any_run(runs, [*where, *pairs]) and not any(one[0] in pairs for one in gone):
            gone.append(pairs)
    also = aside if any(_any_run(frame, [*where, *pairs]) for pairs in gone) else ""
    return [_named(pairs, *([_named(where)] if where else []), also) for pairs in gone]


@dataclass(frozen=True)
class Unpaired:
    """Runs of two values that a claim compares, no two of which are a pair.

    Attributes:
      values: such as `projection linear and relu6 where expansion 6`.
      fields: columns in which a pair agrees and those two runs differ that differ in the fewest.
    """

    values: str
    fields: tuple[str, ...]

    def __str__(self) -> str:
        *others, last = self.fields
        listed = f"{', '.join(others)} and {last}" if others else last
        return f"runs with {self.values} differ in {listed} too"


def unpaired(claim: Claim, frame: pd.DataFrame) -> list[Unpaired]:
    """What a claim compares, and the runs have, without that any two of them are a pair.

    Args:
      claim: made by the functions of `mnv2_jax.analysis.claims`.
      frame: one row per run, as `records.read_results` returns it.

    Raises:
      ValueError: the claim names a column that the results lack, or two runs cannot be told apart.
    """
    found, runs = _held_against(claim, frame)
    along = getattr(found, "along", ())
    said: dict[Unpaired, None] = {}
    for axis, better, worse, where in _contrasts(found):
        pairs = stats.paired_differences(runs, axis, better, worse, where, found.metric, along)
        if len(pairs) and not pairs["there"].any():
            values = f"{axis} {_text(better)} and {_text(worse)}"
            restricted = f" where {_named(list(where.items()))}" if where else ""
            fields = stats.differing(runs, axis, better, worse, where, along)
            said[Unpaired(values + restricted, tuple(fields))] = None
    return list(said)


def decide_sign(one: Comparison) -> Decision:
    """Whether the difference, or the interaction, is above 0."""
    interval = one.interval(Greater.confidence)
    # Comparisons with NaN are false, so a missing interval falls through to inconclusive.
    verdict = SUPPORTED if interval.low > 0 else REFUTED if interval.high < 0 else INCONCLUSIVE
    p_value = resampling.sign_flip_p(one.means)
    return Decision(verdict, p_value, one, [one], refuting=Greater.confidence)


def decide_equivalent(every: Sequence[Comparison], margin: float) -> Decision:
    """Whether all differences lie within +-margin."""
    refuting = _refuting(len(every))
    outside = [one.interval(refuting) for one in every]
    inside = [one.interval(Equivalent.confidence) for one in every]
    if any(i.low > margin or i.high < -margin for i in outside):
        verdict = REFUTED
    elif all(-margin < i.low and i.high < margin for i in inside):
        verdict = SUPPORTED
    else:
        verdict = INCONCLUSIVE
    # np.max keeps NaN: without every comparison there is no p for the whole.
    p_value = float(np.max([stats.tost_p(one.means, margin) for one in every]))
    return Decision(verdict, p_value, max(every, key=_distance), every, refuting)


def decide_monotone(whole: Comparison, steps: Sequence[Comparison], margin: float) -> Decision:
    """Whether the whole is a rise and no step a fall by more than `margin`."""
    rise = whole.interval(Monotone.confidence)
    refuting = _refuting(len(steps) + 1)
    if whole.interval(refuting).high < 0 or any(
        step.interval(refuting).high < -margin for step in steps
    ):
        verdict = REFUTED
    elif rise.low > 0 and all(step.interval(_TEST).low > -margin for step in steps):
        verdict = SUPPORTED
    else:
        verdict = INCONCLUSIVE
    falls = [stats.exceeds_p(step.means, -margin) for step in steps]
    # A fall is no evidence of a rise, however clear it is.
    rising = 1.0 if rise.estimate <= 0 else resampling.sign_flip_p(whole.means)
    p_value = float(np.max([rising, *falls]))
    measured = [(p, step) for p, step in zip(falls, steps, strict=True) if not math.isnan(p)]
    weakest = max(measured, key=lambda one: one[0])[1] if measured else None
    return Decision(verdict, p_value, whole, [*steps, whole], refuting, weakest)


def _refuting(comparisons: int) -> float:
    return 1 - (1 - _TEST) / comparisons


def _distance(one: Comparison) -> float:
    return abs(float(np.mean(one.means))) if len(one.means) else -1


_Contrast = tuple[str, stats.Scalar, stats.Scalar, Mapping[str, stats.Scalar]]
"""A column, two values of it that have to have pairs, and where."""


def _contrasts(claim: Claim) -> Iterator[_Contrast]:
    """What has to have pairs for a claim to be decided."""
    if isinstance(claim, Equivalent | Monotone):
        for earlier, later in _two_by_two(claim):
            yield claim.axis, later, earlier, claim.where
    elif isinstance(claim, Interaction):
        for value in (claim.more, claim.less):
            yield claim.axis, claim.better, claim.worse, {**claim.where, claim.by: value}
        yield claim.by, claim.more, claim.less, claim.where
    else:
        yield claim.axis, claim.better, claim.worse, claim.where


def _two_by_two(claim: Equivalent | Monotone) -> list[tuple[stats.Scalar, stats.Scalar]]:
    """The values that are compared, the earlier first; of a monotone claim the whole comes last."""
    if isinstance(claim, Equivalent):
        return list(itertools.combinations(claim.values, 2))
    return [*itertools.pairwise(claim.values), (claim.values[0], claim.values[-1])]


def _compare(
    claim: Equivalent | Monotone, frame: pd.DataFrame, better: stats.Scalar, worse: stats.Scalar
) -> Comparison:
    claim, frame = _held_against(claim, frame)
    pairs = stats.paired_differences(frame, claim.axis, better, worse, claim.where, claim.metric)
    return _comparison(pairs, f"{_text(worse)} to {_text(better)}")


def _comparison(pairs: pd.DataFrame, name: str) -> Comparison:
    whole = int(pairs["difference"].count())
    settings = [name for name in pairs if name not in ("seed", "there", "difference")]
    every = np.zeros(len(pairs))  # so that there is something to group by where nothing is left
    alone = ~pairs.groupby([every, *settings], dropna=False)["there"].transform("any")
    return Comparison(stats.seed_means(pairs), whole, len(pairs) - whole, name, int(alone.sum()))


_Pair = tuple[str, stats.Scalar]
"""A column and a value of it."""


def _compared(claim: Claim) -> list[_Pair]:
    """The values that a claim compares."""
    if isinstance(claim, Equivalent | Monotone):
        return [(claim.axis, value) for value in claim.values]
    sides = [(claim.axis, claim.better), (claim.axis, claim.worse)]
    if isinstance(claim, Interaction):
        sides += [(claim.by, claim.more), (claim.by, claim.less)]
    return sides


def _any_run(frame: pd.DataFrame, pairs: Sequence[_Pair]) -> bool:
    """Whether a run has all of these values."""
    has = np.ones(len(frame), bool)
    for column, value in pairs:
        has &= (frame[column] == value).to_numpy(bool)
    return bool(has.any())


def _named(pairs: Sequence[_Pair], *conditions: str) -> str:
    words = " and ".join(f"{column} {_text(value)}" for column, value in pairs)
    held = " and ".join(filter(None, conditions))
    return f"{words} where {held}" if held else words


def _text(value: stats.Scalar) -> str:
    return f"{value:g}" if isinstance(value, int | float) else value


def _held_against(claim: Any, frame: pd.DataFrame) -> tuple[Any, pd.DataFrame]:
    """The claim by the results' own columns, and the runs that it speaks of.

    Those of pretraining are tested on other classes: they are left out unless the claim names the
    phase.
    """
    axes = {
        name: records.column(frame, getattr(claim, name))
        for name in ("axis", "by")
        if hasattr(claim, name)
    }
    where = {records.column(frame, field): value for field, value in claim.where.items()}
    found = dataclasses.replace(claim, where=where, **axes)
    if isinstance(claim, Greater):
        along = (records.column(frame, field) for field in claim.along)
        # A field of the config that no runs differ in has no column.
        there = tuple(column for column in along if column in frame or "." not in column)
        found = dataclasses.replace(found, along=there)
    if PHASE in frame and PHASE not in (*where, *axes.values()):
        frame = frame[frame[PHASE] != PRETRAINING]
    return found, frame
