"""The axes in which a set of runs differ, as the report's filters and tables name them."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from mnv2_jax.analysis.axes import told_by_phase
from mnv2_jax.analysis.names import (
    KNOWN,
    in_order,
    name_before,
    number_name,
    short_name,
)
from mnv2_jax.analysis.tables import design_axes


@dataclass(frozen=True)
class Axis:
    """A column in which the runs differ.

    Attributes:
      name: the column, such as `train.learning_rate`.
      label: what the reader sees; the column itself where another axis would be called the same.
      before: what goes before a value where nothing beside it names the axis; may be empty.
      numeric: whether `values` are numbers without names, and so have distances.
      values: all different ones, in the order in which they are shown.
      labels: how `values` are written.
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
    """Return the axes in which the runs of `frame` differ, seed last.

    Args:
      frame: one row per run, as `records.read_results` returns it.
    """
    told = told_by_phase(frame)
    names = [
        name
        for name in [*design_axes(frame), "seed"]
        if frame[name].nunique(dropna=False) > 1 and name not in told
    ]
    called = Counter(map(short_name, names))
    return tuple(_axis(frame, name, alone=called[short_name(name)] == 1) for name in names)


def value_text(value: Any) -> str:
    """Write a value of an axis; whole numbers without a point."""
    if isinstance(value, float):
        if pd.isna(value):
            return "none"
        return f"{value:.0f}" if value.is_integer() else f"{value:g}"
    return str(value) or "none"


def _axis(frame: pd.DataFrame, name: str, *, alone: bool) -> Axis:
    column = frame[name]
    numbers = is_numeric_dtype(column) and not is_bool_dtype(column)
    if not numbers:
        column = column.map(value_text)
    values = in_order(name, column.dropna().unique().tolist())
    values += [float("nan")] if column.isna().any() else []
    names = KNOWN.get(name, {})
    labels = tuple(
        names.get(value) or number_name(name, value) or value_text(value) for value in values
    )
    if len(set(labels)) < len(labels):  # numbers that differ in later digits
        labels = tuple(str(value) for value in values)
    position: dict[Hashable, int] = {value: index for index, value in enumerate(values)}
    missing = len(values) - 1  # NaN is not equal to itself, so it is never found
    return Axis(
        name=name,
        label=short_name(name) if alone else name,
        before=name_before(name) if alone else f"{name} ",
        numeric=numbers and not any(number_name(name, value) for value in values),
        values=tuple(values),
        labels=labels,
        codes=tuple(position.get(value, missing) for value in column.tolist()),
    )
