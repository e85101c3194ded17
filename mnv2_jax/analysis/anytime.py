"""Evidence that holds at any number of seeds, so that seeds may be added until claims are decided.

A t interval of 95 % errs in 5 % of experiments if its number of seeds is fixed before the runs.
Whoever looks again after every few seeds, and stops when 0 lies outside, errs far more often. An
e value does not: it is a ratio of likelihoods, of "another mean" to "this mean", which starts at 1
and, if the mean is this one, ever reaches 20 in at most 5 % of experiments (Ville's inequality).

Here it is that of the t test: the effect in units of its standard deviation is normal with variance
`G` under "another mean", and the standard deviation has the right Haar prior under both (Lai 1976;
Wang and Ramdas 2023, "Anytime-valid t-tests and confidence sequences for Gaussian means with
unknown variance", arXiv:2310.03722). It is exact for normal differences. A rare collapse of runs
to one side breaks it, as it breaks a t test: see tests/analysis/test_anytime.py.

What all seeds have in common, such as their test images, is no evidence however many seeds agree in
it. It is normal under both means, with a variance of `common` times that between seeds, and so
enters both likelihoods. `common` is estimated, which the same tests simulate.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mnv2_jax.analysis.means import Interval, is_constant

G = 4.0
"""The variance of standardized effects: differences between networks are one to several standard
deviations large."""

_LARGEST = 700.0
"""The logarithm of the largest e value, which a float still holds."""


def log_e(distance: ArrayLike, variance: ArrayLike, n: int, common: ArrayLike = 0.0) -> np.ndarray:
    """Return logarithms of e values against a mean, of many experiments at once.

    Args:
      distance: the mean of `n` values, minus the mean that is tested.
      variance: their mean squared deviation from their mean, n - 1 of n times the unbiased one.
      n: the number of values, 1 or more. Two or three never give an e value of 20.
      common: the variance of what all values have in common, in units of that between them.
    """
    squared, variance = np.square(distance), np.asarray(variance)
    this, another = 1 + n * np.asarray(common), 1 + n * (G + np.asarray(common))
    larger = np.log((variance + squared / this) / (variance + squared / another))
    return (n * larger - np.log(another / this)) / 2


def e_value(values: np.ndarray, bound: float = 0.0, common: float = 0.0) -> float:
    """Return the evidence of `values`, `(seeds,)`, against "the mean is `bound`".

    It is 1 for fewer than two values. Values without scatter are far from normal: if they differ
    from the bound, they give 2 ** (n - 1), what a bet that all lie on one side would win, and no
    evidence if all scatter is that of what they have in common. For `common` see `log_e`.
    """
    n = len(values)
    if n < 2 or math.isinf(common):
        return 1.0
    mean = float(np.mean(values))
    if is_constant(values):
        is_at_bound = math.isclose(mean, bound, rel_tol=1e-12)  # Up to rounding.
        return 1.0 if is_at_bound else 2.0 ** (n - 1)
    return math.exp(min(float(log_e(mean - bound, np.var(values), n, common)), _LARGEST))


def interval(values: np.ndarray, alpha: float = 0.05, common: float = 0.0) -> Interval:
    """Return the mean of `values`, `(seeds,)`, and the means that their e values do not exclude.

    A bound lies outside exactly when its e value is 1 / alpha or more. The intervals at all numbers
    of seeds hold the true mean together, in 1 - alpha of experiments. Where there are too few
    values to exclude anything, ends are NaN: at 5 %, for fewer than four. For `common` see `log_e`.
    """
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    nothing = Interval(mean, math.nan, math.nan)
    if n < 2 or math.isinf(common):
        return nothing
    if is_constant(values):
        value = float(values[0])  # Without the mean's rounding.
        return Interval(value, value, value) if 2.0 ** (n - 1) >= 1 / alpha else nothing
    this, another = 1 + n * common, 1 + n * (G + common)
    least = (math.sqrt(another / this) / alpha) ** (2 / n)
    if least >= another / this:
        return nothing
    half = math.sqrt(np.var(values) * (least - 1) / (1 / this - least / another))
    return Interval(mean, mean - half, mean + half)


def p_above(values: np.ndarray, bound: float, common: float = 0.0) -> float:
    """Return p for "the mean of `values` is at most `bound`", valid at any number of seeds.

    It is 1 / E of the bound if the mean of the values lies above it, and else 1. If the true mean
    is lower than the bound, E of the bound is at most E of the true mean, so p is valid for every
    mean up to the bound. NaN for fewer than two values. For `common` see `log_e`.
    """
    if len(values) < 2:
        return np.nan
    return p_of(e_value(values, bound, common)) if np.mean(values) > bound else 1.0


def p_two_sided(values: np.ndarray) -> float:
    """Return p for "the mean of `values` is 0", valid at any number of seeds.

    NaN for fewer than two values.
    """
    return np.nan if len(values) < 2 else p_of(e_value(values))


def p_of(e: float) -> float:
    """Return the p value of an e value: one that is 0.05 or less in at most 5 % of experiments."""
    return min(1.0, 1 / e) if e > 0 else 1.0


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of a family of tests, each 1 / E, in the same order.

    By closed testing with averages (Vovk and Wang 2021, "E-values: calibration, combination and
    applications"): the average of e values is one too, however they depend on one another, so the
    evidence against a null is the least average of its e value with some of the others'. The
    adjusted p is never larger than Holm's correction of 1 / E.

    A p of 1 counts as an e value of 0: 1 / E was cut off there, and e values that are raised to 1
    would be too large on average. NaN is a test that could not be carried out: it stays NaN, and
    counts as 0 too, since the family was written before the runs.

    The promise is proven for tests that do not depend on one another, and for numbers of seeds that
    are fixed. E is a martingale in the history of its own test alone: for tests that depend on one
    another, and seeds that stop by all of them, Holm's correction of 1 / E is proven, and this one
    is simulated, in tests/analysis/test_anytime.py (why: Choe and Ramdas 2024, "Combining evidence
    across filtrations", arXiv:2402.09698).
    """
    p = np.asarray(p_values, float)
    e = np.zeros(len(p))
    with np.errstate(divide="ignore"):
        np.divide(1, p, out=e, where=p < 1)  # False for NaN.
    order = np.argsort(e, kind="stable")
    result = np.full(len(p), np.nan)
    for place, test in enumerate(order):
        if not np.isnan(p[test]):
            sums = np.cumsum([e[test], *np.delete(e[order], place)])
            result[test] = p_of(float(np.min(sums / np.arange(1, len(p) + 1))))
    return result.tolist()
