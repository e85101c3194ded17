"""Effect sizes, detectable differences, and the seeds that they take.

All of it is for one comparison paired by seed and decided by the t interval over seeds, at 5 %.
Results are as uncertain as the standard deviation that they are computed from: the true one lies at
0.6 to 2.5 times that of six seeds (95 %), and seeds needed go with its square.

`sd` is the standard deviation of the difference between seeds; differences and margins have its
unit. `power` is the share of repetitions that find the difference, or confirm the margin.
"""

from collections.abc import Callable

import numpy as np
from scipy import special  # Not scipy.stats, which takes most of a second to import.

from mnv2_jax.analysis.stats import is_constant

MOST_SEEDS = 1_000_000

_ALPHA = 0.05

# Midpoints of equally likely slices, to average over the scatter that a few seeds may show.
_SLICES = (np.arange(2_000) + 0.5) / 2_000


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


def difference_power(sd: float, seeds: int, difference: float) -> float:
    """Return the probability that the two-sided t test finds a true difference, with its sign."""
    df, shift = seeds - 1, abs(difference) * np.sqrt(seeds) / sd
    critical = special.stdtrit(df, 1 - _ALPHA / 2)
    missed = special.nctdtr(df, shift, critical)  # noncentral t; NaN in places where it underflows
    return float(1 - np.nan_to_num(missed))


def margin_power(sd: float, seeds: int, margin: float) -> float:
    """Return the probability that two one-sided t tests confirm +-`margin` without a difference."""
    df = seeds - 1
    observed = np.sqrt(2 * special.gammaincinv(df / 2, _SLICES) / df)  # sd that seeds show, by sd
    # Given that, the mean must keep from the margin by half the width of the interval.
    room = margin * np.sqrt(seeds) / sd - special.stdtrit(df, 1 - _ALPHA) * observed
    return float(np.mean(np.maximum(0, 2 * special.ndtr(room) - 1)))


def detectable_difference(sd: float, seeds: int, power: float = 0.8) -> float:
    """Return the smallest true difference that is found with this power.

    Raises:
      ValueError: `sd` is not above 0, or `seeds` is below 2.
    """
    _check(sd, seeds)
    return sd * _least(lambda size: difference_power(1, seeds, size), power)


def detectable_margin(sd: float, seeds: int, power: float = 0.8) -> float:
    """Return the smallest margin that is confirmed with this power if there is no difference.

    Raises:
      ValueError: `sd` is not above 0, or `seeds` is below 2.
    """
    _check(sd, seeds)
    return sd * _least(lambda size: margin_power(1, seeds, size), power)


def seeds_needed(sd: float, difference: float, power: float = 0.8) -> int | None:
    """Return the fewest seeds whose detectable difference is `difference` or less.

    It plans the next experiment; how far the present one can be trusted its interval says. None if
    it is more than a million, as it is for a difference of 0.

    Raises:
      ValueError: `sd` is not above 0.
    """
    _check(sd)
    return _fewest(lambda seeds: difference_power(sd, seeds, difference) >= power)


def seeds_needed_within(sd: float, margin: float, power: float = 0.8) -> int | None:
    """Return the fewest seeds whose detectable margin is `margin` or less; see `seeds_needed`."""
    _check(sd)
    return _fewest(lambda seeds: margin_power(sd, seeds, margin) >= power)


def design(means: np.ndarray, margin: float | None = None) -> dict[str, float | int | None]:
    """Return what a repetition of a design could detect, given the scatter of its seeds.

    Args:
      means: `(seeds,)`, mean differences.
      margin: of a claim that there is no difference; None for a claim that there is one.

    Returns:
      detectable: the smallest difference that is found, or margin that is confirmed, in 80 % of
      repetitions; seeds_needed: for the difference seen, or the margin. None without scatter.
    """
    if len(means) < 2 or is_constant(means):
        return {"detectable": None, "seeds_needed": None}
    sd, seeds = float(np.std(means, ddof=1)), len(means)
    if margin is None:
        detectable = detectable_difference(sd, seeds)
        needed = seeds_needed(sd, float(np.mean(means)))
    else:
        detectable = detectable_margin(sd, seeds)
        needed = seeds_needed_within(sd, margin)
    return {"detectable": detectable, "seeds_needed": needed}


def _least(power_of: Callable[[float], float], power: float) -> float:
    from scipy import optimize  # Takes a quarter of a second to import.

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
