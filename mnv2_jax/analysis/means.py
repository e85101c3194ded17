"""Means with standard errors, over seeds or over seeds and test images, and tests of them.

A repetition of an experiment draws other seeds; results for other images need other test images
too. With the metric of each run for each test image, `over_seeds_and_images` counts both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # Not scipy.stats, which takes most of a second to import.


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided interval, in the unit of the values; without one, ends are NaN."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Mean:
    """An estimated mean; NaN where there is none.

    Attributes:
      estimate: the mean.
      error: its standard error; NaN for one seed.
      df: degrees of freedom of the t distribution of `estimate / error`.
      of_images: the share of the variance that more test images would lower and more seeds not.
    """

    estimate: float
    error: float
    df: float
    of_images: float = 0.0

    def interval(self, confidence: float) -> Interval:
        """Return the two-sided t interval; without scatter, only if there are enough seeds."""
        if math.isnan(self.error) or (self.error == 0 and 2 * self._of_signs >= 1 - confidence):
            return Interval(self.estimate, math.nan, math.nan)
        half = float(special.stdtrit(self.df, (1 + confidence) / 2)) * self.error
        return Interval(self.estimate, self.estimate - half, self.estimate + half)

    def p_above(self, bound: float) -> float:
        """One-sided t test: p for "the mean is at most `bound`"; NaN without an error.

        `p < 0.05` exactly when the lower end of the 90 % interval lies above `bound`.
        """
        return self._p(self.estimate - bound)

    def p_below(self, bound: float) -> float:
        """One-sided t test: p for "the mean is at least `bound`"; see `p_above`."""
        return self._p(bound - self.estimate)

    def _p(self, distance: float) -> float:
        if self.error == 0:
            return self._of_signs if distance > 0 else 1.0
        return float(special.stdtr(self.df, -distance / self.error))

    @property
    def _of_signs(self) -> float:
        """One-sided p of the signs of seeds that all agree: without scatter no t test is valid."""
        return float(0.5 ** (self.df + 1))


def over_seeds(values: np.ndarray, overlap: float = 0.0) -> Mean:
    """Return the mean of `values`, `(seeds,)`, as a sample of seeds.

    Args:
      values: one per seed.
      overlap: 0 if seeds share their images, and the error is for other seeds on these images. If
        each seed draws its own training and test images from the same pool, the number of test
        images by that of training images: results of seeds are correlated then, and the variance
        of their mean is `variance * (1 / seeds + overlap)` for other images (Nadeau and Bengio
        2003, Machine Learning 52:239), which errs on the large side.
    """
    if len(values) < 2:
        return Mean(float(values.mean()) if len(values) else math.nan, math.nan, math.nan)
    seeds = len(values)
    of_images = overlap / (1 / seeds + overlap)
    sd = 0.0 if is_constant(values) else float(values.std(ddof=1))
    return Mean(float(values.mean()), sd * math.sqrt(1 / seeds + overlap), seeds - 1, of_images)


def over_seeds_and_images(values: np.ndarray) -> Mean:
    """Return the mean of `values`, `(seeds, images)`, as a sample of seeds and of test images.

    Seeds and images are crossed: every seed is tested on every image. With the mean squares of an
    analysis of variance with two random factors, the variance of the mean is
    `(MS_seeds + MS_images - MS_residual) / (seeds * images)`, which estimates the seeds' part, the
    images' part and the residual without bias; its degrees of freedom are Satterthwaite's (1946,
    Biometrics Bulletin 2:110). It is never taken to be less than that over seeds alone.
    """
    seeds, images = values.shape
    if seeds < 2 or images < 2:
        return over_seeds(values.mean(axis=1))
    by_seed, by_image, mean = values.mean(axis=1), values.mean(axis=0), float(values.mean())
    of_seeds = images * float(np.sum((by_seed - mean) ** 2)) / (seeds - 1)
    of_images = seeds * float(np.sum((by_image - mean) ** 2)) / (images - 1)
    total = float(np.sum((values - mean) ** 2))
    rest = total - (seeds - 1) * of_seeds - (images - 1) * of_images
    residual = max(rest, 0.0) / ((seeds - 1) * (images - 1))
    variance = of_seeds + of_images - residual
    if variance <= of_seeds:
        return over_seeds(by_seed)
    squares = of_seeds**2 / (seeds - 1) + of_images**2 / (images - 1)
    df = variance**2 / (squares + residual**2 / ((seeds - 1) * (images - 1)))
    error = math.sqrt(variance / (seeds * images))
    return Mean(mean, error, df, (of_images - residual) / variance)


def t_interval(values: np.ndarray, confidence: float) -> Interval:
    """Two-sided Student t interval over seeds for the mean of `values`, `(seeds,)`."""
    return over_seeds(values).interval(confidence)


def is_constant(values: np.ndarray) -> bool:
    """Return whether `values`, one or more, are equal up to rounding, and so have no scatter."""
    return bool(np.ptp(values) <= 1e-12 * np.max(np.abs(values)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of a family of tests (Holm 1979), in the same order.

    Rejecting where the adjusted p is below 0.05 makes a mistake anywhere in the family in at most
    5 % of repetitions, however the tests depend on one another. NaN is a test that could not be
    carried out: it stays NaN, and counts as one that rejects nothing, since the family was written
    before the runs.
    """
    p = np.asarray(p_values, float)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(p), len(p) - len(order), -1)
    # None falls below that of a smaller p: where Holm's procedure stops, it stops for all behind.
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1)
    return adjusted.tolist()
