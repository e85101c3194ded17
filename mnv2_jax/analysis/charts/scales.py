"""The x axis of a chart."""

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from mnv2_jax.analysis.axes import COSTS, is_number, values
from mnv2_jax.analysis.charts.panels import NARROW
from mnv2_jax.analysis.names import axis_name, number_name, value_name

_LETTER = 6.2  # Pixels: the width of a letter of a label.
_MOST_TICKS = 15  # More values than this do not have a tick each.


@dataclass(frozen=True)
class Scale:
    """Scale of a column on x.

    Attributes:
      column: of results.csv.
      values: all that are drawn, in order.
      kind: numbers are drawn by size or by logarithm, `places` at even distances.
      joined: whether lines join values.
    """

    column: str
    values: Sequence[Any]
    kind: Literal["linear", "log", "places"]
    joined: bool

    def at(self, value: Any) -> float:
        """Return the x of a value."""
        return float(self.values.index(value) if self.kind == "places" else value)

    def encoding(self) -> dict[str, Any]:
        """Return the channel `x`, with a tick per value if there is room."""
        low, high = self.at(self.values[0]), self.at(self.values[-1])
        if self.kind == "places":
            names = [value_name(self.column, value) for value in self.values]
            own = places(names, grid=self.joined)
        elif self.column in COSTS:
            own = _costs(low, high)
        else:
            scale = {"type": self.kind, "domain": [low, high], "nice": False, "zero": False}
            few = len(self.values) <= _MOST_TICKS
            ticks = {"values": [*self.values]} if few else {"tickCount": 6}
            own = {
                "scale": scale | {"padding": 14},
                # Drops labels that would overlap.
                "axis": ticks | {"format": ".6~g", "labelOverlap": "greedy"},
            }
        return {"field": "x", "type": "quantitative", "title": axis_name(self.column), **own}

    def dividers(self) -> list[dict[str, Any]]:
        """Return a layer of lines between places, if these are not joined."""
        if self.joined:
            return []
        between = [{"x": place + 0.5} for place in range(len(self.values) - 1)]
        mark = {"type": "rule", "color": "var(--rule)"}
        return [{"data": {"values": between}, "mark": mark, "encoding": {"x": self.encoding()}}]


def places(names: Sequence[str], *, grid: bool) -> dict[str, Any]:
    """Return scale and axis of names at 0, 1, ..."""
    lines, slant = fitted(names)
    return {
        "scale": {"domain": [-0.5, len(names) - 0.5], "nice": False, "zero": False},
        "axis": {
            "values": list(range(len(names))),
            # JSON's texts are valid in Vega's expressions, whatever is in them.
            "labelExpr": f"{json.dumps(lines)}[datum.value]",
            "labelOverlap": False,
            "grid": grid,
            **slant,
        },
    }


def fitted(names: Sequence[str]) -> tuple[Sequence[Any], dict[str, Any]]:
    """Wrap names below a panel if they fit so; else slant them, by the axis that is returned."""
    letters = int(NARROW / len(names) / _LETTER)
    lines = [textwrap.wrap(one, max(letters, 1), break_long_words=False) for one in names]
    if any(len(line) > letters for name in lines for line in name):
        return names, {"labelAngle": -30, "labelAlign": "right", "labelLimit": 220}
    return lines, {}


def scale_of(frame: pd.DataFrame, column: str) -> Scale:
    """Return the scale of a column: logarithmic for costs, and for numbers that span decades.

    Names are evenly spaced, in the grid's order; so are numbers that span decades from a 0, by
    size, and numbers of which one has a name, which comes last.
    """
    present = values(frame, column)
    if not is_number(frame, column):
        return Scale(column, present, "places", joined=False)
    if column in COSTS:
        return Scale(column, sorted(present), "log", joined=True)
    present = sorted(present, key=lambda value: (bool(number_name(column, value)), value))
    if any(number_name(column, value) for value in present):
        return Scale(column, present, "places", joined=True)
    positive = [value for value in present if value > 0]
    if not _spans_decades(positive):
        return Scale(column, present, "linear", joined=True)
    kind: Literal["log", "places"] = "log" if len(positive) == len(present) else "places"
    return Scale(column, present, kind, joined=True)


def _costs(low: float, high: float) -> dict[str, Any]:
    """Return scale and axis of costs, with ticks at round numbers."""
    room = max((high / low) ** 0.06, 1.6 if high < 2 * low else 1.0)
    low, high = low / room, high * room
    return {
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "axis": {"values": round_ticks(low, high), "format": "~s"},
    }


def round_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two positive ones, for ticks of a logarithmic axis."""
    steps = (1, 3) if high > 40 * low else (1, 2, 5) if high > 4 * low else (1, 1.5, 2, 3, 4, 5, 7)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _spans_decades(numbers: Sequence[float]) -> bool:
    """Return whether positive numbers, in order, span decades and have the more even logarithms."""
    if len(numbers) < 2 or numbers[-1] < 10.1 * numbers[0]:
        return False
    if numbers[-1] >= 100 * numbers[0]:
        return True
    unevenness = [
        np.std(gaps) / np.mean(gaps) for gaps in (np.diff(numbers), np.diff(np.log(numbers)))
    ]
    return bool(unevenness[1] < unevenness[0])
