"""Equality of config values, the same for grids, claims, records and messages.

Floats are equal if they round to the same float32, which programs compute with: 0.1 + 0.2 and 0.3,
or 0.8 and its neighbour in `np.arange(0.5, 1.3, 0.1)`. Integers stay exact.
"""

import math
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Return a NumPy scalar as a Python value, float32's 0.1 as 0.1; other values as they are."""
    if isinstance(value, np.floating) and not isinstance(value, np.float64):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value


def canonical(value: Any) -> Any:
    """Return the representative of all equal values: of floats the one with the fewest digits.

    A float beyond float32's range becomes infinite; see `is_representable`.
    """
    value = plain(value)
    if not isinstance(value, float):
        return value
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))


def is_representable(value: Any) -> bool:
    """Return whether a value, if it is a float, is finite in float32."""
    if not isinstance(value, float) or abs(value) < 3e38:  # A shortcut: `canonical` is slower.
        return True
    return math.isfinite(canonical(value))


def text(value: Any) -> str:
    """Return a value as text, floats with nine digits, which tell all float32 numbers apart."""
    value = canonical(value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)
