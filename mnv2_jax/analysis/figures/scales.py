"""Where values lie on the x axis of a figure: numbers by distance, names and the rest in places."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from mnv2_jax.analysis.figures.axes import COSTS, is_number, values
from mnv2_jax.analysis.figures.style import number_name, value_name

_ROOM = 36
"""Characters that a panel has room for side by side; where names need more they are slanted."""

_GAP = 0.06
"""Share of the axis that two ticks have to be apart."""


@dataclass(frozen=True)
class Scale:
    """How a column lies on x.

    Attributes:
      column: of results.csv.
      values: all that are drawn, in order.
      kind: `places` are evenly spaced, one a value.
      joined: whether a line from value to value means something.
    """

    column: str
    values: Sequence[Any]
    kind: Literal["linear", "log", "places"]
    joined: bool

    def at(self, value: Any) -> float:
        """Where a value lies."""
        return float(self.values.index(value) if self.kind == "places" else value)


def scale_of(frame: pd.DataFrame, column: str) -> Scale:
    """Costs, and numbers that spread better so, are logarithmic.

    Numbers that span decades from a 0 are evenly spaced, as are those of which one has a name, and
    what is not a number.
    """
    present = values(frame, column)
    if not is_number(frame, column):
        return Scale(column, present, "places", joined=False)
    if column in COSTS:
        return Scale(column, present, "log", joined=True)
    if any(number_name(column, value) for value in present):
        return Scale(column, present, "places", joined=True)
    positive = [value for value in present if value > 0]
    if not _spans_decades(positive):
        return Scale(column, present, "linear", joined=True)
    kind: Literal["log", "places"] = "log" if len(positive) == len(present) else "places"
    return Scale(column, present, kind, joined=True)


def put_on(axis: Axes, scale: Scale) -> None:
    """Gives a panel the scale, with a tick per value where they do not crowd."""
    if scale.kind == "places":
        _places(axis, scale)
        return
    if scale.kind == "log":
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_minor_formatter(NullFormatter())
    if scale.column in COSTS:
        _costs(axis, float(scale.values[0]), float(scale.values[-1]))
    elif ticks := _uncrowded(scale):
        axis.set_xticks(ticks, [value_name(scale.column, tick) for tick in ticks])
    elif scale.kind == "linear":
        axis.xaxis.set_major_locator(MaxNLocator(6))


def _costs(axis: Axes, low: float, high: float) -> None:
    """Ticks at round numbers, few or many as the range is wide or narrow."""
    room = max((high / low) ** 0.06, 1.6 if high < 2 * low else 1.0)
    axis.set_xlim(low / room, high * room)
    steps = (1, 3) if high > 40 * low else (1, 2, 5) if high > 4 * low else (1, 1.5, 2, 3, 4, 5, 7)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks = np.array([step * 10.0**decade for decade in decades for step in steps])
    # A label may widen the axis a little to the left.
    near = (ticks > low / room / 4) & (ticks < high * room)
    axis.xaxis.set_major_locator(FixedLocator(ticks[near]))
    axis.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))


def _spans_decades(numbers: Sequence[float]) -> bool:
    """Whether the largest is above ten times the smallest, and logarithms lie more evenly."""
    if len(numbers) < 2 or numbers[-1] < 10.1 * numbers[0]:
        return False
    if numbers[-1] >= 100 * numbers[0]:
        return True
    unevenness = [
        np.std(gaps) / np.mean(gaps) for gaps in (np.diff(numbers), np.diff(np.log(numbers)))
    ]
    return bool(unevenness[1] < unevenness[0])


def _uncrowded(scale: Scale) -> list[float]:
    """The values to have a tick: those far enough from the one before; none if most are not."""
    numbers = np.array(scale.values, float)
    places = np.log(numbers) if scale.kind == "log" else numbers
    span = np.ptp(places) or 1.0
    kept = [0]
    for index in range(1, len(places)):
        if places[index] - places[kept[-1]] >= _GAP * span:
            kept.append(index)
    return [float(numbers[index]) for index in kept] if 2 * len(kept) > len(places) else []


def _places(axis: Axes, scale: Scale) -> None:
    labels = [value_name(scale.column, value) for value in scale.values]
    wide = round(axis.bbox.width / axis.figure.dpi / 3 * _ROOM / len(labels))
    wrapped = [textwrap.fill(label, max(wide, 8), break_long_words=False) for label in labels]
    slanted = any(len(line) > wide for label in wrapped for line in label.splitlines())
    axis.set_xticks(range(len(labels)), labels if slanted else wrapped)
    if slanted:
        for label in axis.get_xticklabels():
            label.set(rotation=30, horizontalalignment="right", rotation_mode="anchor")
    axis.set_xlim(-0.5, len(labels) - 0.5)
    axis.grid(visible=scale.joined, axis="x")
    for place in range(1, 1 if scale.joined else len(labels)):
        axis.axvline(place - 0.5, color="#eeeeee", linewidth=0.8, zorder=0)
