"""Which axes a set of runs varies, and which place each takes in the report's charts."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from mnv2_jax.analysis.axes import default_view, told_by_phase
from mnv2_jax.analysis.names import (
    KNOWN,
    in_order,
    name_before,
    number_name,
    short_name,
)
from mnv2_jax.analysis.records import design_axes
from mnv2_jax.schema import PHASE

_MOST_HUES, _MOST_PANELS = 7, 6


@dataclass(frozen=True)
class Axis:
    """A column in which the runs differ.

    Attributes:
      name: the column, such as `train.learning_rate`.
      key: what charts call it. Vega takes a dot in a field's name for a step into an object.
      label: what the reader sees; the column itself where another axis would be called the same.
      before: what goes before a value where nothing beside it names the axis; may be empty.
      numeric: whether `values` are numbers without names, and so have distances.
      values: all different ones, in the order in which they are shown.
      labels: how `values` are written.
      codes: for each run the position of its value.
    """

    name: str
    key: str
    label: str
    before: str
    numeric: bool
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    codes: tuple[int, ...]

    @property
    def titles(self) -> tuple[str, ...]:
        """How `values` are written where nothing beside them names the axis."""
        return tuple(self.before + label for label in self.labels)


@dataclass(frozen=True)
class Design:
    """The axes of a set of runs, and which of them charts show as what.

    Attributes:
      axes: all that vary, seed last.
      x: along the horizontal axis.
      hue: by colour, marker and dash.
      panel: by panel.
    """

    axes: tuple[Axis, ...]
    x: Axis | None
    hue: Axis | None
    panel: Axis | None

    @property
    def curve_hue(self) -> Axis | None:
        """What colours tell apart over epochs: phases of a transfer are never averaged."""
        return self.x if self.x and self.x.name == PHASE else self.hue

    @property
    def hidden(self) -> tuple[Axis, ...]:
        """What a line of the charts averages over, the seed aside."""
        shown = (self.x, self.hue, self.panel)
        return tuple(axis for axis in self.axes if axis not in shown and axis.name != "seed")


def of(frame: pd.DataFrame) -> Design:
    """Finds the axes in which the runs of `frame` differ, and gives each its place.

    The places are those of the static figures, as far as there is room: one axis of panels.

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
    axes = tuple(
        _axis(frame, name, f"axis{number}", alone=called[short_name(name)] == 1)
        for number, name in enumerate(names)
    )
    by_name = {axis.name: axis for axis in axes if axis.name != "seed"}
    view = default_view(frame)
    x = by_name.get(view.x)
    hue = by_name.get(view.hue or "")
    if hue is None and x is not None and not x.numeric:
        hue = x  # Of charts that have something else along x, such as epochs.
    panels = (by_name[name] for name in view.panels if name in by_name)
    return Design(
        axes,
        x=x,
        hue=hue if hue and len(hue.values) <= _MOST_HUES else None,
        panel=next((axis for axis in panels if len(axis.values) <= _MOST_PANELS), None),
    )


def value_text(value: Any) -> str:
    """Writes a value of an axis; whole numbers without a point."""
    if isinstance(value, float):
        if pd.isna(value):
            return "none"
        return f"{value:.0f}" if value.is_integer() else f"{value:g}"
    return str(value) or "none"


def _axis(frame: pd.DataFrame, name: str, key: str, *, alone: bool) -> Axis:
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
        key=key,
        label=short_name(name) if alone else name,
        before=name_before(name) if alone else f"{name} ",
        numeric=numbers and not any(number_name(name, value) for value in values),
        values=tuple(values),
        labels=labels,
        codes=tuple(position.get(value, missing) for value in column.tolist()),
    )
