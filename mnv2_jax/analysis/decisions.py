"""From paired comparisons to verdicts: what supports a claim of each kind, and what refutes it.

To support a claim that says several things, each of them is tested at 5 %: all must hold, so no
correction is due (an intersection-union test). To refute it one of them is enough, and the more
there are, the sooner one looks wrong by chance: the 5 % are shared between them (Bonferroni), by
intervals that are wider by as much.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
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
    if isinstance(claim, Equivalent):
        every = [
            _compare(claim, frame, later, earlier)
            for earlier, later in itertools.combinations(claim.values, 2)
        ]
        return decide_equivalent(every, claim.margin)
    steps = [
        _compare(claim, frame, later, earlier)
        for earlier, later in itertools.pairwise(claim.values)
    ]
    whole = _compare(claim, frame, claim.values[-1], claim.values[0])
    return decide_monotone(whole, steps, claim.margin)


def differences(claim: Greater | Interaction, frame: pd.DataFrame) -> pd.DataFrame:
    """The pairs that a claim rests on; see `stats.paired_differences`, `stats.paired_interactions`.

    Raises:
      ValueError: the claim names a column that the results lack.
    """
    found, frame = _held_against(claim, frame)
    if isinstance(claim, Greater):
        along = [records.column(frame, field) for field in claim.along]
        # A field of the config that no runs differ in has no column.
        along = [column for column in along if column in frame or "." not in column]
        return stats.paired_differences(
            frame, found.axis, found.better, found.worse, found.where, found.metric, along
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


def _compare(
    claim: Equivalent | Monotone, frame: pd.DataFrame, better: stats.Scalar, worse: stats.Scalar
) -> Comparison:
    claim, frame = _held_against(claim, frame)
    pairs = stats.paired_differences(frame, claim.axis, better, worse, claim.where, claim.metric)
    return _comparison(pairs, f"{_text(worse)} to {_text(better)}")


def _comparison(pairs: pd.DataFrame, name: str) -> Comparison:
    whole = int(pairs["difference"].count())
    return Comparison(stats.seed_means(pairs), whole, len(pairs) - whole, name)


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
    axes: dict[str, Any] = {
        name: records.column(frame, getattr(claim, name))
        for name in ("axis", "by")
        if hasattr(claim, name)
    }
    where = {records.column(frame, field): value for field, value in claim.where.items()}
    if PHASE in frame and PHASE not in (*where, *axes.values()):
        frame = frame[frame[PHASE] != PRETRAINING]
    return dataclasses.replace(claim, where=where, **axes), frame
