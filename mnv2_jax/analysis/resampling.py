"""Intervals and tests that resample seeds instead of assuming a distribution."""

import numpy as np
from scipy import special  # Not scipy.stats, which takes most of a second to import.

from mnv2_jax.analysis.means import Interval, is_constant

_ENUMERATED = 20  # seeds up to which all 2^n sign patterns are visited
_SAMPLED = 2**14
_RESAMPLES = 9_999
_RESAMPLES_OF_RANKS = 1_999


def bootstrap_interval(values: np.ndarray, confidence: float) -> Interval:
    """Two-sided bootstrap interval (BCa) for the mean of `values`, `(seeds,)`.

    Bias-corrected, accelerated (Efron 1987), with the numbers of `scipy.stats.bootstrap`. Without
    scatter it is a point, for fewer than two seeds there is none. Seeds are drawn with replacement,
    each with all of its pairs: these are the same in any repetition, one for each value of the
    other axes, so drawing among them too would count the differences between expansions, say, as
    chance.

    No verdict rests on it, since with few seeds it is too narrow: its samples scatter by
    `(n - 1) / n` of the observed variance, and it knows no t. In 4,000 simulated experiments with
    normal differences the 95 % interval covered the true one in 85.7 % with 6 seeds, 88.4 % with 8
    and 92.5 % with 20, the t interval in 95.0, 94.7 and 95.2 %. It shows to which side the seeds
    have their tail.
    """
    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, np.nan, np.nan)
    if is_constant(values):
        return Interval(mean, mean, mean)
    # In units of their range, so that the powers below do not underflow.
    scale = np.ptp(values)
    seeds, count = (values - mean) / scale, len(values)
    drawn = np.random.default_rng(0).integers(0, count, (_RESAMPLES, count))
    means = seeds[drawn].mean(axis=1)
    below = np.count_nonzero(means < seeds.mean()) + np.count_nonzero(means <= seeds.mean())
    bias = special.ndtri(below / (2 * _RESAMPLES))
    without_one = np.array([np.delete(seeds, place).mean() for place in range(count)])
    influence = (count - 1) * (without_one.mean() - without_one)
    variance = np.sum(influence**2) / count**2
    acceleration = 1 / 6 * (np.sum(influence**3) / count**3) / variance**1.5
    tail = special.ndtri((1 - confidence) / 2)
    shifted = bias + np.array([tail, -tail])
    low, high = np.quantile(means, special.ndtr(bias + shifted / (1 - acceleration * shifted)))
    return Interval(mean, float(mean + scale * low), float(mean + scale * high))


def sign_flip_p(values: np.ndarray) -> float:
    """Two-sided p of the mean of `values`, `(seeds,)`, under random signs.

    The null says that a pair's order is arbitrary. Exact for up to 20 seeds, where all sign
    patterns are visited; beyond that a fixed sample of patterns is drawn. NaN for fewer than two
    seeds.
    """
    count = len(values)
    if count < 2:
        return np.nan
    if count <= _ENUMERATED:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
    else:
        patterns = np.random.default_rng(0).integers(0, 2, (_SAMPLED, count))
        # The pattern that was observed belongs to the sample, else p could be 0.
        patterns[0] = 1
        sums = (2 * patterns - 1) @ values
    # Patterns with the same sum differ in the last bits, because addition rounds.
    least = abs(np.sum(values)) - 1e-12 * np.sum(np.abs(values))
    return float(np.mean(np.abs(sums) >= least))


def smallest_sign_flip_p(seeds: int) -> float:
    """Return the p of the exact test when all seeds agree in sign, its least: 0.031 for 6 seeds."""
    return 2.0 ** (1 - seeds)


def rank_correlation(
    x: np.ndarray, y: np.ndarray, seeds: np.ndarray, confidence: float
) -> Interval:
    """Spearman's rank correlation over runs, with an interval that resamples seeds.

    Seeds are drawn with replacement, each with all of its runs: runs of a seed are not independent,
    and the grid would be the same in a repetition. The interval has the percentiles of the
    resamples (Efron 1979); for fewer than two seeds there is none. With few seeds it is too narrow,
    as that of `bootstrap_interval` is.

    Args:
      x: a number per run, `(runs,)`.
      y: likewise.
      seeds: the seed of each run.
      confidence: of the interval.

    Returns:
      NaN where all of `x` or all of `y` are equal.
    """
    estimate = _correlation(x, y)
    groups = [np.flatnonzero(seeds == seed) for seed in np.unique(seeds)]
    if np.isnan(estimate) or len(groups) < 2:
        return Interval(estimate, np.nan, np.nan)
    drawn = np.random.default_rng(0).integers(0, len(groups), (_RESAMPLES_OF_RANKS, len(groups)))
    runs = (np.concatenate([groups[one] for one in sample]) for sample in drawn)
    again = np.array([_correlation(x[those], y[those]) for those in runs])
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(again, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return the correlation of ranks; NaN if either has no scatter."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value, equal ones with the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: np.ndarray = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
