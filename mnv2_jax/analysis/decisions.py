"""From paired comparisons to verdicts: what supports a claim of each kind, and what refutes it.

To support a claim that says several things, each of them is tested at 5 %: all must hold, so no
correction is due (an intersection-union test). To refute it one of them is enough, and the more
there are, the sooner one looks wrong by chance: the 5 % are shared between them (Bonferroni), by
intervals that are wider by as much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnv2_jax.analysis import compared, resampling, stats
from mnv2_jax.analysis.claims import Claim, Equivalent, Greater, Interaction, Monotone
from mnv2_jax.analysis.stats import Interval

SUPPORTED, REFUTED, INCONCLUSIVE = "supported", "refuted", "inconclusive"

RUINED = "ruined"
"""Inconclusive, and training ruined runs of the claim: what was compared is not what was asked."""

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
    every = [
        _compare(claim, frame, later, earlier) for earlier, later in compared.two_by_two(claim)
    ]
    if isinstance(claim, Equivalent):
        return decide_equivalent(every, claim.margin)
    *steps, whole = every
    return decide_monotone(whole, steps, claim.margin)


def differences(claim: Greater | Interaction, frame: pd.DataFrame) -> pd.DataFrame:
    """The pairs that a claim rests on; see `stats.paired_differences`, `stats.paired_interactions`.

    Raises:
      ValueError: the claim names a column that the results lack.
    """
    found, frame = compared.held_against(claim, frame)
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
    claim, frame = compared.held_against(claim, frame)
    pairs = stats.paired_differences(frame, claim.axis, better, worse, claim.where, claim.metric)
    return _comparison(pairs, f"{compared.text(worse)} to {compared.text(better)}")


def _comparison(pairs: pd.DataFrame, name: str) -> Comparison:
    whole = int(pairs["difference"].count())
    settings = [name for name in pairs if name not in ("seed", "there", "difference")]
    every = np.zeros(len(pairs))  # so that there is something to group by where nothing is left
    alone = ~pairs.groupby([every, *settings], dropna=False)["there"].transform("any")
    return Comparison(stats.seed_means(pairs), whole, len(pairs) - whole, name, int(alone.sum()))
