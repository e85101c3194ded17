"""From comparisons to verdicts: rules that kinds of claims share.

To support a claim that says several things, each of them is tested at 5 %: all must hold, so no
correction is due (an intersection-union test). To refute it one of them is enough, and the more
there are, the sooner one looks wrong by chance: the 5 % are shared between them (Bonferroni), by
intervals that are wider by as much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mnv2_jax.analysis import resampling, stats
from mnv2_jax.analysis.stats import Interval

SUPPORTED, REFUTED, INCONCLUSIVE = "supported", "refuted", "inconclusive"

RUINED = "ruined"
"""Inconclusive, and training ruined runs of the claim: what was compared is not what was asked."""

SIGN = 0.95
"""The confidence of an interval that lies on one side of 0, or does not."""

TEST = 0.90
"""The confidence of an interval whose end is that of a one-sided test at 5 %."""


@dataclass(frozen=True)
class Comparison:
    """One number per seed, such as a mean difference of pairs, and how many pairs it was made of.

    Attributes:
      means: `(seeds,)`, what was measured.
      pairs: how many it was made of.
      dropped: pairs that were left out.
      name: of the comparison, where a claim has several.
      alone: of those dropped, pairs that no seed has all runs of.
      sign: 1 where more of the metric is better, -1 where less is.
    """

    means: np.ndarray
    pairs: int
    dropped: int
    name: str = ""
    alone: int = 0
    sign: Literal[1, -1] = 1

    @classmethod
    def from_differences(
        cls, differences: pd.DataFrame, name: str = "", sign: Literal[1, -1] = 1
    ) -> "Comparison":
        """Average differences within each seed.

        Args:
          differences: as `stats.paired_differences` returns them.
          name: see the class.
          sign: see the class.
        """
        whole = int(differences["difference"].count())
        settings = [one for one in differences if one not in ("seed", "there", "difference")]
        every = np.zeros(len(differences))  # to group by where nothing else is left
        there = differences.groupby([every, *settings], dropna=False)["there"]
        alone = int((~there.transform("any")).sum())
        dropped = len(differences) - whole
        return cls(stats.seed_means(differences), whole, dropped, name, alone, sign)

    @property
    def gains(self) -> np.ndarray:
        """The means, turned so that more is better."""
        return self.sign * self.means

    def interval(self, confidence: float) -> Interval:
        """Return the t interval over seeds of what was measured."""
        return stats.t_interval(self.means, confidence)

    def gain(self, confidence: float) -> Interval:
        """Return the t interval over seeds of the gains."""
        return stats.t_interval(self.gains, confidence)


@dataclass(frozen=True)
class Decision:
    """Decision of a claim.

    Attributes:
      verdict: supported, refuted or inconclusive.
      p_value: of the test whose rejection supports the claim (for one comparison: two-sided).
      reported: the comparison whose estimate stands for the claim.
      every: all comparisons that it rests on.
      refuting: confidence of the intervals of which one refutes when it lies wholly outside.
      weakest: of several comparisons, the one that speaks most against the claim.
      flips_signs: p is, or may be, that of a sign-flip test, which few seeds keep from being small.

    Raises:
      ValueError: there is no such verdict.
    """

    verdict: str
    p_value: float
    reported: Comparison
    every: Sequence[Comparison]
    refuting: float = SIGN
    weakest: Comparison | None = None
    flips_signs: bool = False

    def __post_init__(self) -> None:
        known = (SUPPORTED, REFUTED, INCONCLUSIVE)
        if self.verdict not in known:
            raise ValueError(f"verdict={self.verdict!r}: expected one of {', '.join(known)}")


def decide_sign(one: Comparison) -> Decision:
    """Decide whether one comparison is a gain."""
    interval = one.gain(SIGN)
    # Comparisons with NaN are false, so a missing interval falls through to inconclusive.
    verdict = SUPPORTED if interval.low > 0 else REFUTED if interval.high < 0 else INCONCLUSIVE
    p_value = resampling.sign_flip_p(one.means)
    return Decision(verdict, p_value, one, [one], refuting=SIGN, flips_signs=True)


def decide_equivalent(every: Sequence[Comparison], margin: float) -> Decision:
    """Decide whether all comparisons lie within +-margin."""
    refuting = _refuting(len(every))
    outside = [one.interval(refuting) for one in every]
    inside = [one.interval(TEST) for one in every]
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
    """Decide whether the whole is a gain and no step a loss of more than `margin`."""
    rise = whole.gain(SIGN)
    refuting = _refuting(len(steps) + 1)
    if whole.gain(refuting).high < 0 or any(step.gain(refuting).high < -margin for step in steps):
        verdict = REFUTED
    elif rise.low > 0 and all(step.gain(TEST).low > -margin for step in steps):
        verdict = SUPPORTED
    else:
        verdict = INCONCLUSIVE
    falls = [stats.exceeds_p(step.gains, -margin) for step in steps]
    # A fall is no evidence of a rise, however clear it is.
    rising = 1.0 if rise.estimate <= 0 else resampling.sign_flip_p(whole.means)
    p_value = float(np.max([rising, *falls]))
    known = [(p, step) for p, step in zip(falls, steps, strict=True) if not math.isnan(p)]
    weakest = max(known, key=lambda one: one[0])[1] if known else None
    every = [*steps, whole]
    return Decision(verdict, p_value, whole, every, refuting, weakest, flips_signs=True)


def _refuting(comparisons: int) -> float:
    return 1 - (1 - TEST) / comparisons


def _distance(one: Comparison) -> float:
    return abs(float(np.mean(one.means))) if len(one.means) else -1
