"""Checks of the arguments of claims; all raise ValueError."""

import math
import numbers
from collections.abc import Mapping, Sequence

from mnv2_jax import schema
from mnv2_jax.analysis.stats import Scalar
from mnv2_jax.analysis.units import measure_of


def check_different(name: str, what: str, one: Scalar, other: Scalar) -> None:
    """Refuse two values, or fields, of a claim that are the same."""
    if one == other:
        raise ValueError(f"claim {name!r}: {what} are both {one!r}; must differ")


def check_values(name: str, values: Sequence[Scalar]) -> None:
    """Refuse fewer than two values, and equal ones."""
    if len(values) < 2 or len(set(values)) < len(values):
        raise ValueError(f"claim {name!r}: values {values!r}; must be two or more, all different")


def check_where(name: str, where: Mapping[str, Scalar], *compared: str) -> None:
    """Refuse a `where` that restricts a compared axis."""
    for axis in compared:
        if axis in where:
            raise ValueError(
                f"claim {name!r}: where restricts the compared axis {axis!r}; leave it out"
            )


def check_margin(
    name: str, margin: float, metric: str, field: str = "margin", *, or_none: bool = False
) -> None:
    """Refuse a margin that is no number in the unit of the metric; with `or_none` it may be 0."""
    is_fraction = measure_of(schema.column(metric)).is_fraction
    is_number = isinstance(margin, numbers.Real)
    if is_number and (0 < margin < (1 if is_fraction else math.inf) or (or_none and margin == 0)):
        return
    what = "a fraction" if is_fraction else "a number"
    least = " between 0 and 1" if is_fraction else ", 0 or more" if or_none else " above 0"
    raise ValueError(f"claim {name!r}: {field} {margin!r}; must be {what}{least}")
