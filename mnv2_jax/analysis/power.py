"""Effect sizes, detectable differences, and the seeds that they take.

All of it is for one comparison paired by seed and decided by the t interval over seeds. What is
computed from the scatter of a few seeds is as uncertain as that scatter: the true standard
deviation lies at 0.6 to 2.5 times that of six seeds (95 %), and seeds needed go with its square.
"""

from collections.abc import Callable

import numpy as np
from scipy import special  # Not scipy.stats, which takes most of a second to import.

from mnv2_jax.analysis.stats import is_constant

MOST_SEEDS = 1_000_000

# Midpoints of equally likely slices, to average over the scatter that a few seeds may show.
_SLICES = (np.arange(2_000) + 0.5) / 2_000


def effect_size(values: np.ndarray) -> float:
    """Mean by standard deviation over seeds, paired (d_z), with Hedges' correction for few seeds.

    The correction makes it unbiased for normal differences: without it six seeds overstate it by
    19 %. It is in units of the scatter between seeds: runs that scatter less make it larger.

    Args:
      values: shape `(n,)`, one mean difference per seed.

    Returns:
      The effect, or NaN for fewer than three seeds (no correction exists) or without scatter.
    """
    if len(values) < 3 or is_constant(values):
        return np.nan
    df = len(values) - 1
    log_correction = special.gammaln(df / 2) - special.gammaln((df - 1) / 2) - np.log(df / 2) / 2
    return float(np.exp(log_correction) * np.mean(values) / np.std(values, ddof=1))


def difference_power(sd: float, seeds: int, difference: float, alpha: float = 0.05) -> float:
    """Probability that the two-sided t test over seeds finds a true difference, with its sign.

    Args:
      sd: standard deviation of the difference between seeds.
      seeds: two or more.
      difference: the true one, in the unit of `sd`.
      alpha: level of the test; 0.05 belongs to the 95 % interval.
    """
    df, shift = seeds - 1, abs(difference) * np.sqrt(seeds) / sd
    critical = special.stdtrit(df, 1 - alpha / 2)
    missed = special.nctdtr(df, shift, critical)  # noncentral t; NaN in places where it underflows
    return float(1 - np.nan_to_num(missed))


def margin_power(sd: float, seeds: int, margin: float, alpha: float = 0.05) -> float:
    """Probability that two one-sided t tests find +-`margin` kept when there is no difference.

    Args:
      sd: standard deviation of the difference between seeds.
      seeds: two or more.
      margin: in the unit of `sd`.
      alpha: level of each test; 0.05 belongs to the 90 % interval.
    """
    df = seeds - 1
    observed = np.sqrt(2 * special.gammaincinv(df / 2, _SLICES) / df)  # sd that seeds show, by sd
    # PretrainedWeights that, the mean must keep from the margin by half the width of the interval.
    room = margin * np.sqrt(seeds) / sd - special.stdtrit(df, 1 - alpha) * observed
    return float(np.mean(np.maximum(0, 2 * special.ndtr(room) - 1)))


def detectable_difference(sd: float, seeds: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest true difference that is detected in 80 % of repetitions.

    Args:
      sd: standard deviation of the difference between seeds.
      seeds: two or more.
      power: probability to find it, more than `alpha`.
      alpha: level of the two-sided test.

    Raises:
      ValueError: `sd` is not above 0, or `seeds` is below 2.
    """
    _check(sd, seeds)
    return sd * _least(lambda size: difference_power(1, seeds, size, alpha), power)


def detectable_margin(sd: float, seeds: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest margin that an equivalence is found within, if nothing differs.

    Args and errors are those of `detectable_difference`.
    """
    _check(sd, seeds)
    return sd * _least(lambda size: margin_power(1, seeds, size, alpha), power)


def seeds_needed(
    sd: float, difference: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return the fewest seeds whose detectable difference is `difference` or less.

    For the next experiment: how far the one at hand can be trusted its interval says.

    Args:
      sd: standard deviation of the difference between seeds.
      difference: the true one, of either sign, in the unit of `sd`.
      power: probability to find it, more than `alpha`.
      alpha: level of the two-sided test.

    Returns:
      Two or more, or None where it is more than a million, as it is when the difference is 0.

    Raises:
      ValueError: `sd` is not above 0.
    """
    _check(sd)
    return _fewest(lambda seeds: difference_power(sd, seeds, difference, alpha) >= power)


def seeds_needed_within(
    sd: float, margin: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return the fewest seeds that find an equivalence within `margin`, if there is no difference.

    Args, value and errors are those of `seeds_needed`.
    """
    _check(sd)
    return _fewest(lambda seeds: margin_power(sd, seeds, margin, alpha) >= power)


def design(means: np.ndarray) -> dict[str, float | int | None]:
    """Compute what a repetition of a design could see, given the scatter of these seeds.

    Args:
      means: shape `(seeds,)`, one mean difference per seed.

    Returns:
      detectable: the smallest difference that is found in 80 % of repetitions; seeds_needed: to
      find one as small as the one seen. None where there is no scatter to go by.
    """
    sd = _scatter(means)
    if sd is None:
        return {"detectable": None, "seeds_needed": None}
    return {
        "detectable": detectable_difference(sd, len(means)),
        "seeds_needed": seeds_needed(sd, float(np.mean(means))),
    }


def design_within(means: np.ndarray, margin: float) -> dict[str, float | int | None]:
    """Compute what a repetition could confirm to be within a margin, without a difference.

    Args:
      means: shape `(seeds,)`, one mean difference per seed.
      margin: the claim's, in the unit of `means`.

    Returns:
      detectable: the smallest margin that is confirmed in 80 % of repetitions; seeds_needed: for
      the claim's margin. None where there is no scatter to go by.
    """
    sd = _scatter(means)
    if sd is None:
        return {"detectable": None, "seeds_needed": None}
    return {
        "detectable": detectable_margin(sd, len(means)),
        "seeds_needed": seeds_needed_within(sd, margin),
    }


def _scatter(means: np.ndarray) -> float | None:
    return None if len(means) < 2 or is_constant(means) else float(np.std(means, ddof=1))


def _least(power_of: Callable[[float], float], power: float) -> float:
    from scipy import optimize  # Takes half a second to import.

    high = 1.0
    while power_of(high) < power:
        high *= 2
    return float(optimize.brentq(lambda size: power_of(size) - power, 0, high, xtol=1e-9))


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


def _check(sd: float, seeds: int = 2) -> None:
    if not 0 < sd < np.inf:
        raise ValueError(f"sd {sd!r}; must be a standard deviation above 0")
    if seeds < 2:
        raise ValueError(f"seeds {seeds!r}; must be 2 or more, else there is no scatter to see")
