"""Which axes a set of runs varies, and which place each takes in the report's charts."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from mnv2_jax.analysis.figures.style import PROJECTIONS, SHORTCUTS, in_order
from mnv2_jax.analysis.records import design_axes

_NAMES = {"projection": PROJECTIONS, "shortcut": SHORTCUTS}
_MOST_HUES, _MOST_PANELS = 7, 6


@dataclass(frozen=True)
class Axis:
    """A column in which the runs differ.

    Attributes:
      name: the column, such as `train.learning_rate`.
      key: what charts call it. Vega takes a dot in a field's name for a step into an object.
      label: what the reader sees.
      numeric: whether `values` are numbers, and so have distances.
      values: all different ones, in the order in which they are shown.
      labels: how `values` are written.
      codes: for each run the position of its value.
    """

    name: str
    key: str
    label: str
    numeric: bool
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    codes: tuple[int, ...]


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
    def hidden(self) -> tuple[Axis, ...]:
        """What a line of the charts averages over, the seed aside."""
        shown = (self.x, self.hue, self.panel)
        return tuple(axis for axis in self.axes if axis not in shown and axis.name != "seed")


def of(frame: pd.DataFrame) -> Design:
    """Finds the axes in which the runs of `frame` differ, and gives each its place.

    Along x goes the expansion, else the first axis of numbers, else what colours show. Colours are
    projections, else blocks, else the next axis of few values; panels are shortcuts, else blocks.

    Args:
      frame: one row per run, as `records.read_results` returns it.
    """
    names = [
        name for name in [*design_axes(frame), "seed"] if frame[name].nunique(dropna=False) > 1
    ]
    axes = tuple(_axis(frame, name, f"axis{number}") for number, name in enumerate(names))
    by_name = {axis.name: axis for axis in axes if axis.name != "seed"}
    numbers = [axis for axis in by_name.values() if axis.numeric]
    x = by_name.get("expansion") or next(iter(numbers), None)
    left = [axis for axis in by_name.values() if axis is not x]
    hue = _first(left, ("projection", "block"), _MOST_HUES, but="shortcut")
    left = [axis for axis in left if axis is not hue]
    panel = _first(left, ("shortcut", "block"), _MOST_PANELS, only=True)
    if x is None:
        # Without numbers the colours' axis is the one to read along; other charts need its colours.
        hue, panel = (hue, panel) if hue else (panel, None)
        x = hue or next(iter(by_name.values()), None)
    return Design(axes, x, hue, panel)


def value_text(value: Any) -> str:
    """Writes a value of an axis; whole numbers without a point."""
    if isinstance(value, float):
        if pd.isna(value):
            return "none"
        return f"{value:.0f}" if value.is_integer() else f"{value:g}"
    return str(value) or "none"


def _axis(frame: pd.DataFrame, name: str, key: str) -> Axis:
    column = frame[name]
    numeric = is_numeric_dtype(column) and not is_bool_dtype(column)
    values: list[Any]
    if numeric:
        values = sorted(column.dropna().unique().tolist())
        values += [float("nan")] if column.isna().any() else []
    else:
        column = column.map(value_text)
        values = in_order(column, _NAMES.get(name, {}))
    names = _NAMES.get(name, {})
    labels = tuple(names.get(value, value_text(value)) for value in values)
    if len(set(labels)) < len(labels):  # numbers that differ in later digits
        labels = tuple(str(value) for value in values)
    position: dict[Hashable, int] = {value: index for index, value in enumerate(values)}
    missing = len(values) - 1  # NaN is not equal to itself, so it is never found
    return Axis(
        name=name,
        key=key,
        label=name if "." in name else name.capitalize(),
        numeric=numeric,
        values=tuple(values),
        labels=labels,
        codes=tuple(position.get(value, missing) for value in column.tolist()),
    )


def _first(
    axes: Sequence[Axis],
    names: Sequence[str],
    most: int,
    *,
    but: str | None = None,
    only: bool = False,
) -> Axis | None:
    """The first axis of `names`, else any other but `but`, that has at most so many values."""
    few = [axis for axis in axes if len(axis.values) <= most]
    preferred = [axis for name in names for axis in few if axis.name == name]
    others = [] if only else [axis for axis in few if axis.name != but]
    return next(iter([*preferred, *others]), None)
