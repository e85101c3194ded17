"""Effect sizes, detectable differences, and the seeds that they take.

All of it is for the t tests of `mnv2_jax.analysis.decisions` at 5 %, paired by seed. Results are as
uncertain as the standard deviation that they are computed from: the true one lies at 0.6 to 2.5
times that of six seeds (95 %), and seeds needed go with its square.

`sd` is the standard deviation of the difference between seeds and `images` the variance of its mean
that test images cause, which more seeds do not lower; both have the unit of differences. `power` is
the share of repetitions that find the difference, or confirm the margin.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special  # Not scipy.stats, which takes most of a second to import.

from mnv2_jax.analysis.decisions import Comparison
from mnv2_jax.analysis.means import is_constant

MOST_SEEDS = 1_000_000

_ALPHA = 0.05
_REPETITIONS = 4_000
_FEW_SEEDS = 100  # Up to which repetitions draw each seed; beyond, the scatter is known.


def effect_size(values: np.ndarray) -> float:
    """Return mean by standard deviation over seeds, paired (d_z), with Hedges' correction.

    The correction makes it unbiased for normal differences: without it six seeds overstate it by
    19 %. NaN for fewer than three seeds (no correction exists), or without scatter.
    """
    if len(values) < 3 or is_constant(values):
        return np.nan
    df = len(values) - 1
    log_correction = special.gammaln(df / 2) - special.gammaln((df - 1) / 2) - np.log(df / 2) / 2
    return float(np.exp(log_correction) * np.mean(values) / np.std(values, ddof=1))


def difference_power(sd: float, seeds: int, difference: float, images: float = 0.0) -> float:
    """Return the probability that the two-sided t test finds a true difference, with its sign."""
    error, df = _error(sd, seeds, images)
    return _found(abs(difference) / error, df)


def detectable_difference(sd: float, seeds: int, power: float = 0.8, images: float = 0.0) -> float:
    """Return the smallest true difference that is found with this power.

    Raises:
      ValueError: `sd` is not above 0, or `seeds` is below 2.
    """
    error, df = _error(sd, seeds, images)
    return error * _least(lambda shift: _found(shift, df), power)


def seeds_needed(
    sd: float, difference: float, power: float = 0.8, images: float = 0.0
) -> int | None:
    """Return the fewest seeds whose detectable difference is `difference` or less.

    It plans the next experiment; how far the present one can be trusted its interval says. None if
    it is more than a million, as it is for a difference of 0, or one that is small beside
    `images`.

    Raises:
      ValueError: `sd` is not above 0.
    """
    return _fewest(lambda seeds: difference_power(sd, seeds, difference, images) >= power)


def detectable_margin(
    covariance: np.ndarray, seeds: int, power: float = 0.8, images: np.ndarray | float = 0.0
) -> float:
    """Return the smallest margin that all of some differences are confirmed to lie within.

    It holds with this power if there are no differences: the share of simulated repetitions in
    which every pair of one-sided t tests confirms it.

    Args:
      covariance: of the differences between seeds, `(comparisons, comparisons)`.
      seeds: 2 or more.
      power: the share.
      images: the variance of each mean that test images cause, `(comparisons,)`.

    Raises:
      ValueError: `seeds` is below 2, or a variance is not above 0.
    """
    variances = np.diag(covariance)
    errors, dfs = np.vectorize(_error)(np.sqrt(variances), seeds, images)
    root = _root(covariance / np.sqrt(np.outer(variances, variances)))
    rng = np.random.default_rng(0)
    if seeds <= _FEW_SEEDS:
        draws = rng.standard_normal((_REPETITIONS, seeds, len(root))) @ root
        means, sds = draws.mean(axis=1) * math.sqrt(seeds), draws.std(axis=1, ddof=1)
    else:
        means, sds = rng.standard_normal((_REPETITIONS, len(root))) @ root, 1.0
    reach = errors * (np.abs(means) + special.stdtrit(dfs, 1 - _ALPHA) * sds)
    return float(np.quantile(reach.max(axis=1), power))


def seeds_needed_within(
    covariance: np.ndarray,
    margin: float,
    power: float = 0.8,
    images: np.ndarray | float = 0.0,
) -> int | None:
    """Return the fewest seeds whose detectable margin is `margin` or less; see `seeds_needed`."""
    return _fewest(lambda seeds: detectable_margin(covariance, seeds, power, images) <= margin)


def design(one: Comparison) -> dict[str, float | int | None]:
    """Return what a repetition of a comparison could detect, given the scatter of its seeds.

    Returns:
      detectable: the smallest difference that is found in 80 % of repetitions; seeds_needed: for
      the difference seen. None without scatter.
    """
    if len(one.means) < 2 or is_constant(one.means):
        return {"detectable": None, "seeds_needed": None}
    sd, images, seeds = float(np.std(one.means, ddof=1)), _of_images(one), len(one.means)
    # What draws of one pool have in common is as uncertain as the scatter it follows from.
    apart = (sd * math.sqrt(1 + seeds * one.overlap), 0.0) if one.overlap else (sd, images)
    return {
        "detectable": detectable_difference(apart[0], seeds, images=apart[1]),
        "seeds_needed": seeds_needed(sd, float(np.mean(one.means)), images=images),
    }


def design_within(
    comparisons: Sequence[Comparison], margin: float
) -> dict[str, float | int | None]:
    """Return what a repetition could confirm of all comparisons together; see `design`.

    Returns:
      detectable: the smallest margin; seeds_needed: for `margin`. None without scatter, or if a
      comparison has other seeds than the others.
    """
    seeds, *others = {len(one.means) for one in comparisons}
    if others or seeds < 2 or any(is_constant(one.means) for one in comparisons):
        return {"detectable": None, "seeds_needed": None}
    covariance = np.atleast_2d(np.cov([one.means for one in comparisons]))
    images = np.array([_of_images(one) for one in comparisons])
    return {
        "detectable": detectable_margin(covariance, seeds, images=images),
        "seeds_needed": seeds_needed_within(covariance, margin, images=images),
    }


def _of_images(one: Comparison) -> float:
    """Return the variance of a mean that test images cause."""
    return one.mean.of_images * one.mean.error**2


def _error(sd: float, seeds: int, images: float) -> tuple[float, float]:
    """Return the standard error of a mean over seeds, and its degrees of freedom.

    The images' part counts as known: there are far more images than seeds.
    """
    if not 0 < sd < np.inf:
        raise ValueError(f"sd {sd:g}; must be a standard deviation above 0")
    if seeds < 2:
        raise ValueError(f"seeds {seeds}; must be 2 or more, else there is no scatter to see")
    of_seeds = sd**2 / seeds
    total = of_seeds + images
    return math.sqrt(total), (seeds - 1) * (total / of_seeds) ** 2


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return the symmetric root of a covariance, which standard normal draws are multiplied by.

    There is one, whichever signs a library gives eigenvectors.
    """
    values, vectors = np.linalg.eigh(covariance)
    root: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


def _found(shift: float, df: float) -> float:
    critical = special.stdtrit(df, 1 - _ALPHA / 2)
    missed = special.nctdtr(df, shift, critical)  # noncentral t; NaN in places where it underflows
    return float(1 - np.nan_to_num(missed))


def _least(power_of: Callable[[float], float], power: float) -> float:
    from scipy import optimize  # Takes a quarter of a second to import.

    high = 1.0
    while power_of(high) < power:
        high *= 2
    return float(optimize.brentq(lambda size: power_of(size) - power, 0, high))


def _fewest(enough: Callable[[int], bool]) -> int | None:
    high = 2
    while not enough(high):
        if high >= MOST_SEEDS:
            return None
        high = min(2 * high, MOST_SEEDS)
    low = high // 2  # too few, or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
