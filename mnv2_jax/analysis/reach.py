"""The mean differences that a number of seeds can decide, whatever the results."""

import functools
import itertools
import math

import numpy as np
from scipy import special  # Not scipy.stats, which takes most of a second to import.

from mnv2_jax.analysis import anytime
from mnv2_jax.analysis.decisions import LEVEL
from mnv2_jax.analysis.resampling import smallest_sign_flip_p


def least_effect(seeds: int, claims: int, *, stops: bool = False, overlap: float = 0.0) -> float:
    """Return the smallest mean difference that is decided, in standard deviations between seeds.

    It is that of the first of several claims to be decided, which the others help least; infinite
    if these seeds decide nothing.

    Args:
      seeds: 1 or more.
      claims: of the config, 1 or more.
      stops: whether seeds stop by themselves, so that verdicts need e values.
      overlap: see `mnv2_jax.analysis.means.over_seeds`.
    """
    if seeds < 2:
        return math.inf
    if not stops:
        critical = special.stdtrit(seeds - 1, 1 - LEVEL / claims / 2)
        return float(critical) * math.sqrt(1 / seeds + overlap)
    # Values with a standard deviation of 1.
    values = np.resize([1.0, -1.0], seeds)
    values = (values - values.mean()) / values.std(ddof=1)
    high = anytime.interval(values, LEVEL / claims, overlap).high
    return math.inf if math.isnan(high) else high


def line(seeds: int, claims: int, *, stops: bool = False, overlap: float = 0.0) -> str:
    """Return a line for a dry run; see `least_effect`."""
    least_of = functools.partial(least_effect, claims=claims, stops=stops, overlap=overlap)
    least = least_of(seeds)
    count = f"{seeds} seed{'' if seeds == 1 else 's'}"
    verdict = "a verdict" if claims == 1 else f"the first verdict on {claims} claims"
    if math.isinf(least):
        numbers = itertools.count(seeds + 1)
        could = next(n for n in numbers if not math.isinf(least_of(n)))
        return f"{count} cannot decide any claim, whatever the results; {could} seeds could"
    return (
        f"with {count}, {verdict} needs a mean difference of {least:.2g} standard deviations "
        f"between seeds, and more where test images count; sign-flip p cannot be below "
        f"{smallest_sign_flip_p(seeds):.2g}"
    )
