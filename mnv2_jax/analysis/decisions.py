"""Rules that kinds of claims share, from comparisons to verdicts.

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
"""Inconclusive, and training ruined runs of the claim, so that other networks were compared."""

SIGN = 0.95
"""The confidence of an interval whose side of 0 decides."""

TEST = 0.90
"""The confidence of an interval whose end is that of a one-sided test at 5 %."""


@dataclass(frozen=True)
class Comparison:
    """Differences averaged within each seed.

    Attributes:
      means: `(seeds,)`.
      pairs: number of pairs averaged.
      dropped: number of pairs left out.
      name: of the comparison, where a claim has several.
      alone: of those dropped, pairs that no seed has all runs of.
      sign: 1 if higher is better, else -1.
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
        """Average differences, as `stats.paired_differences` returns them, within each seed."""
        pairs = int(differences["difference"].count())
        settings = [name for name in differences if name not in ("seed", "recorded", "difference")]
        constant = np.zeros(len(differences))  # to group by where there are no settings
        recorded = differences.groupby([constant, *settings], dropna=False)["recorded"]
        alone = int((~recorded.transform("any")).sum())
        dropped = len(differences) - pairs
        return cls(stats.seed_means(differences), pairs, dropped, name, alone, sign)

    @property
    def gains(self) -> np.ndarray:
        """The means, with the sign that makes higher better."""
        return self.sign * self.means

    def interval(self, confidence: float) -> Interval:
        """Return the t interval over seeds of the means."""
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
      reported: the comparison whose estimate is reported.
      comparisons: all of the claim's.
      refuting: confidence of the intervals, one of which refutes by lying wholly outside.
      weakest: of several comparisons, the one that speaks most against the claim.
      flips_signs: whether p may be that of a sign-flip test, which few seeds keep from being small.

    Raises:
      ValueError: the verdict is unknown.
    """

    verdict: str
    p_value: float
    reported: Comparison
    comparisons: Sequence[Comparison]
    refuting: float = SIGN
    weakest: Comparison | None = None
    flips_signs: bool = False

    def __post_init__(self) -> None:
        known = (SUPPORTED, REFUTED, INCONCLUSIVE)
        if self.verdict not in known:
            raise ValueError(f"verdict={self.verdict!r}: expected one of {', '.join(known)}")


def decide_sign(one: Comparison) -> Decision:
    """Decide whether a comparison is a gain."""
    interval = one.gain(SIGN)
    # Comparisons with NaN are false, so a missing interval falls through to inconclusive.
    verdict = SUPPORTED if interval.low > 0 else REFUTED if interval.high < 0 else INCONCLUSIVE
    p_value = resampling.sign_flip_p(one.means)
    return Decision(verdict, p_value, one, [one], refuting=SIGN, flips_signs=True)


def decide_equivalent(comparisons: Sequence[Comparison], margin: float) -> Decision:
    """Decide whether all comparisons lie within +-margin."""
    refuting = _refuting(len(comparisons))
    outside = [one.interval(refuting) for one in comparisons]
    inside = [one.interval(TEST) for one in comparisons]
    if any(i.low > margin or i.high < -margin for i in outside):
        verdict = REFUTED
    elif all(-margin < i.low and i.high < margin for i in inside):
        verdict = SUPPORTED
    else:
        verdict = INCONCLUSIVE
    # np.max keeps NaN: without every comparison there is no p for the whole.
    p_value = float(np.max([stats.tost_p(one.means, margin) for one in comparisons]))
    return Decision(verdict, p_value, max(comparisons, key=_distance), comparisons, refuting)


def decide_monotone(whole: Comparison, steps: Sequence[Comparison], margin: float) -> Decision:
    """Decide whether `whole` is a gain and no step a loss of more than `margin`."""
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
    tested = [(p, step) for p, step in zip(falls, steps, strict=True) if not math.isnan(p)]
    weakest = max(tested, key=lambda pair: pair[0])[1] if tested else None
    comparisons = [*steps, whole]
    return Decision(verdict, p_value, whole, comparisons, refuting, weakest, flips_signs=True)


def _refuting(comparisons: int) -> float:
    return 1 - (1 - TEST) / comparisons


def _distance(one: Comparison) -> float:
    return abs(float(np.mean(one.means))) if len(one.means) else -1
