"""Equality of two values of the config: one rule for grids, claims, records and messages.

Numbers are equal if float32, which programs compute with, has one number for both: 0.1 + 0.2 and
0.3, or 0.8 and the value that `np.arange(0.5, 1.3, 0.1)` has for it. Whole numbers stay exact.
"""

import math
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Return a value as Python has it, for one of NumPy's scalars: float32's 0.1 becomes 0.1."""
    if isinstance(value, np.floating) and not isinstance(value, np.float64):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value


def canonical(value: Any) -> Any:
    """Return the value that stands for its equals; of numbers the one with fewest digits.

    What float32 cannot hold becomes infinite; see `is_representable`.
    """
    value = plain(value)
    if not isinstance(value, float):
        return value
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))


def is_representable(value: Any) -> bool:
    """Return whether float32 has a finite number for a value, if it is a number with a fraction."""
    if not isinstance(value, float) or abs(value) < 3e38:  # Nearly all; the rest takes longer.
        return True
    return math.isfinite(canonical(value))


def text(value: Any) -> str:
    """Return a value as messages write it: nine digits, which tell float32 numbers apart."""
    value = canonical(value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)
