"""The axes in which a set of runs differ, as the report's filters and tables name them."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mnv2_jax.analysis.axes import implied_by_phase, is_number
from mnv2_jax.analysis.names import KNOWN, name_before, number_name, short_name
from mnv2_jax.analysis.tables import design_axes


@dataclass(frozen=True)
class Axis:
    """A column in which the runs differ.

    Attributes:
      name: the column, such as `train.learning_rate`.
      label: its name on the page; the column where two axes would have the same.
      before: goes before a value where nothing beside it names the axis; may be empty.
      numeric: whether `values` are numbers without names.
      values: the distinct ones, in order.
      labels: `values` as text.
      codes: for each run the position of its value.
    """

    name: str
    label: str
    before: str
    numeric: bool
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    codes: tuple[int, ...]

    @property
    def titles(self) -> tuple[str, ...]:
        """The texts of `values` where nothing beside them names the axis."""
        return tuple(self.before + label for label in self.labels)


def axes_of(frame: pd.DataFrame) -> tuple[Axis, ...]:
    """Return the axes in which the runs of `frame` differ, seed last."""
    implied = implied_by_phase(frame)
    names = [
        name
        for name in [*design_axes(frame), "seed"]
        if frame[name].nunique(dropna=False) > 1 and name not in implied
    ]
    counts = Counter(map(short_name, names))
    return tuple(_axis(frame, name, unique=counts[short_name(name)] == 1) for name in names)


def value_text(value: Any) -> str:
    """Return a value of an axis as text, whole numbers without a point."""
    if isinstance(value, float):
        if pd.isna(value):
            return "none"
        return f"{value:.0f}" if value.is_integer() else f"{value:g}"
    return str(value) or "none"


def _axis(frame: pd.DataFrame, name: str, *, unique: bool) -> Axis:
    column = frame[name]
    numbers = is_number(frame, name)
    if not numbers:
        column = column.map(value_text)
    values = column.dropna().unique().tolist()
    values += [float("nan")] if column.isna().any() else []
    names = KNOWN.get(name, {})
    labels = [names.get(value) or number_name(name, value) or value_text(value) for value in values]
    if len(set(labels)) < len(labels):  # numbers that differ in later digits
        labels = [str(value) for value in values]
    codes: dict[Hashable, int] = {value: code for code, value in enumerate(values)}
    missing = len(values) - 1  # NaN is not equal to itself, so it is never found
    return Axis(
        name=name,
        label=short_name(name) if unique else name,
        before=name_before(name) if unique else f"{name} ",
        numeric=numbers and not any(number_name(name, value) for value in values),
        values=tuple(values),
        labels=tuple(labels),
        codes=tuple(codes.get(value, missing) for value in column.tolist()),
    )
