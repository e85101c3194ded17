"""Rules that kinds of claims share, from comparisons to p values.

A claim has p values for the verdicts *supported*, *refuted* and *negligible*, and gets that whose p
is below 0.05, after a correction for the other claims of the config
(`mnv2_jax.analysis.verdicts`). A false verdict has a p below 0.05 in at most 5 % of repetitions.

To support a claim that says several things, each of them is tested at 5 %: all must hold, so no
correction is due (an intersection-union test), and p is the largest. To refute it one of them is
enough, and the more there are, the sooner one looks wrong by chance: the 5 % are shared between
them, and p is the smallest times their number (Bonferroni).
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mnv2_jax.analysis import anytime, stats
from mnv2_jax.analysis.means import Interval, Mean, over_seeds, over_seeds_and_images

SUPPORTED, REFUTED, INCONCLUSIVE = "supported", "refuted", "inconclusive"

NEGLIGIBLE = "negligible"
"""The difference is smaller than what the claim states as negligible."""

RUINED = "ruined"
"""Inconclusive, and training ruined runs of the claim, so that other networks were compared."""

LEVEL = 0.05
"""The p below which there is a verdict."""

TEST = 0.90
"""The confidence of an interval whose end is that of a one-sided test at 5 %."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Differences averaged within each seed.

    Attributes:
      means: `(seeds,)`.
      pairs: number of pairs averaged.
      dropped: number of pairs left out.
      name: of the comparison, where a claim has several.
      alone: of those dropped, pairs that no seed has all runs of.
      sign: 1 if higher is better, else -1.
      images: the differences for each test image, `(seeds, images)`, where runs recorded them.
      anytime: whether p values stay valid though seeds are added until they are small.
      seeds: that were averaged in, ascending.
      overlap: see `mnv2_jax.analysis.means.over_seeds`.
      one_order: whether all seeds take training images in the same order.
    """

    means: np.ndarray
    pairs: int
    dropped: int
    name: str = ""
    alone: int = 0
    sign: Literal[1, -1] = 1
    images: np.ndarray | None = None
    anytime: bool = False
    seeds: tuple[int, ...] = ()
    overlap: float = 0.0
    one_order: bool = False

    @classmethod
    def from_differences(
        cls,
        differences: pd.DataFrame,
        name: str = "",
        sign: Literal[1, -1] = 1,
        images: np.ndarray | None = None,
        *,
        anytime: bool = False,
        overlap: float = 0.0,
        one_order: bool = False,
    ) -> "Comparison":
        """Average differences, as `stats.paired_differences` returns them, within each seed."""
        pairs = int(differences["difference"].count())
        settings = [name for name in differences if name not in ("seed", *stats.OF_PAIRS)]
        constant = np.zeros(len(differences))  # to group by where there are no settings
        recorded = differences.groupby([constant, *settings], dropna=False)["recorded"]
        alone = int((~recorded.transform("any")).sum())
        dropped = len(differences) - pairs
        means = stats.seed_means(differences)
        seeds = tuple(sorted(differences.dropna(subset="difference")["seed"].unique().tolist()))
        return cls(
            means, pairs, dropped, name, alone, sign, images, anytime, seeds, overlap, one_order
        )

    @functools.cached_property
    def mean(self) -> Mean:
        """The mean and its standard error: over seeds and images if it can be, else seeds."""
        if self.images is None:
            return over_seeds(self.means, self.overlap)
        # Losses are stored with few digits: the estimate is that of the table.
        found = over_seeds_and_images(self.images)
        return dataclasses.replace(found, estimate=float(self.means.mean()))

    @property
    def gains(self) -> "Comparison":
        """The comparison with the sign that makes higher better."""
        if self.sign == 1:
            return self
        images = None if self.images is None else -self.images
        return dataclasses.replace(self, means=-self.means, images=images, sign=1)

    @property
    def common(self) -> float:
        """The variance that all seeds share, of images, in units of that between seeds."""
        share = self.mean.of_images
        return math.inf if share >= 1 else share / (1 - share) / max(1, len(self.means))

    def interval(self, confidence: float) -> Interval:
        """Return the t interval of the mean."""
        return self.mean.interval(confidence)

    def p_above(self, bound: float) -> float:
        """Return p for "the mean is at most `bound`", one-sided; NaN for fewer than two seeds."""
        if self.anytime:
            return anytime.p_above(self.means, bound, self.common)
        return self.mean.p_above(bound)

    def p_below(self, bound: float) -> float:
        """Return p for "the mean is at least `bound`"."""
        if self.anytime:
            return anytime.p_above(-self.means, -bound, self.common)
        return self.mean.p_below(bound)

    def p_within(self, margin: float) -> float:
        """Return p for "the mean lies outside +-margin", of two one-sided tests (Schuirmann 1987).

        `p < 0.05` exactly when the 90 % interval lies inside.
        """
        return float(np.max([self.p_above(-margin), self.p_below(margin)]))

    def p_beyond(self, margin: float) -> float:
        """Return p for "the mean lies within +-margin"."""
        return float(np.min([self.p_above(margin), self.p_below(-margin)]))


@dataclass(frozen=True, eq=False)
class Decision:
    """Decision of a claim.

    Attributes:
      support: p of the test whose rejection supports the claim; NaN without one.
      refute: p of the test whose rejection refutes it.
      reported: the comparison whose estimate is reported.
      comparisons: all of the claim's.
      negligible: p of the test whose rejection shows that the difference is negligible.
      weakest: of several comparisons, the one that speaks most against the claim.
      selected: what `reported` was selected for among several comparisons; "" if it was not.
      flips_signs: whether the claim is about the side of 0 that `reported` lies on.
    """

    support: float
    refute: float
    reported: Comparison
    comparisons: Sequence[Comparison]
    negligible: float = math.nan
    weakest: Comparison | None = None
    selected: str = ""
    flips_signs: bool = False

    @property
    def p_values(self) -> dict[str, float]:
        """The p values that there are, by the verdict that a small one gives."""
        named = {SUPPORTED: self.support, REFUTED: self.refute, NEGLIGIBLE: self.negligible}
        return {verdict: p for verdict, p in named.items() if not math.isnan(p)}

    @property
    def verdict(self) -> str:
        """The verdict on the claim by itself, without a correction for others."""
        small = (verdict for verdict, p in self.p_values.items() if p < LEVEL)
        return next(small, INCONCLUSIVE)

    @property
    def p_value(self) -> float:
        """The smallest p; NaN if there is none."""
        return min(self.p_values.values(), default=math.nan)


def decide_sign(one: Comparison, negligible: float = 0.0) -> Decision:
    """Decide whether a comparison is a gain, or lies within +-`negligible` if that is above 0."""
    # Two-sided: both directions share the 5 %, as an interval of 95 % does. An anytime p is of a
    # two-sided test already.
    sides = 1 if one.anytime else 2
    return Decision(
        min(1.0, sides * one.gains.p_above(0)) if len(one.means) > 1 else math.nan,
        min(1.0, sides * one.gains.p_below(0)) if len(one.means) > 1 else math.nan,
        one,
        [one],
        negligible=min(1.0, sides * one.p_within(negligible)) if negligible else math.nan,
        flips_signs=True,
    )


def decide_equivalent(comparisons: Sequence[Comparison], margin: float) -> Decision:
    """Decide whether all comparisons lie within +-margin."""
    # np.max keeps NaN: without every comparison the claim cannot be supported.
    support = float(np.max([one.p_within(margin) for one in comparisons]))
    refute = _any([one.p_beyond(margin) for one in comparisons])
    several = len(comparisons) > 1
    selected = f"the largest of {len(comparisons)} differences" if several else ""
    widest = max(comparisons, key=_distance)
    return Decision(support, refute, widest, comparisons, selected=selected)


def decide_monotone(whole: Comparison, steps: Sequence[Comparison], margin: float) -> Decision:
    """Decide whether `whole` is a gain and no step a loss of more than `margin`."""
    rise = decide_sign(whole)
    falls = [step.gains.p_above(-margin) for step in steps]
    support = float(np.max([rise.support, *falls]))
    losses = [step.gains.p_below(-margin) for step in steps]
    refute = _any([whole.gains.p_below(0), *losses])
    tested = [(p, step) for p, step in zip(falls, steps, strict=True) if not math.isnan(p)]
    weakest = max(tested, key=lambda pair: pair[0])[1] if tested else None
    comparisons = [*steps, whole]
    return Decision(support, refute, whole, comparisons, weakest=weakest, flips_signs=True)


def _any(p_values: Sequence[float]) -> float:
    """Return p that one of several nulls, or more, is false; NaN if none was tested."""
    tested = [p for p in p_values if not math.isnan(p)]
    return min(1.0, len(p_values) * min(tested)) if tested else math.nan


def _distance(one: Comparison) -> float:
    return abs(float(np.mean(one.means))) if len(one.means) else -1
