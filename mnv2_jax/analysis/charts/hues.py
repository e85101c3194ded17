"""Colours, markers and dashes of the values of an axis.

Colours are Okabe and Ito's, which colour-blind readers tell apart; markers and dashes differ too,
for prints in grey.
"""

import math
from collections.abc import Sequence
from typing import Any

from mnv2_jax.analysis.charts.chart import INK
from mnv2_jax.analysis.names import KNOWN, axis_name, value_name

COLOURS = [f"var(--hue-{number})" for number in range(7)]
STEPS = [f"var(--step-{number})" for number in range(8)]
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right"]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [10, 4], [4, 2], [1, 3]]

FRONT = "Pareto front"
_DASH = "M-1.5,-0.1h3v0.2h-3z"  # Its marker, as an SVG path.

_BESIDE = 6  # A legend with more entries stands beside the panels, not above them.


class Hues:
    """The values that lines of a chart differ in, and their looks.

    Attributes:
      values: in the order of the legend; a single None without such an axis.
      labels: the names of the values in the legend, all different.
    """

    def __init__(
        self,
        column: str | None,
        values: Sequence[Any],
        *,
        front: bool = False,
        titled: bool = True,
    ) -> None:
        """Name the values of a column.

        Args:
          column: of results.csv, or the name of what is no column of it.
          values: that lines have.
          front: adds the Pareto front to the legend.
          titled: whether the legend has the name of the column.
        """
        self._column, self._front, self._titled = column, front, titled
        self.values = list(values) if column else [None]
        names = {value: value_name(column, value) if column else "" for value in self.values}
        unique = len({*names.values()}) == len(names)
        self.labels = names if unique else {value: str(value) for value in self.values}

    def encoding(self) -> dict[str, Any]:
        """Return the channels `color`, `shape` and `strokeDash` of the field `hue`."""
        looks = looks_of(self._column or "", self.values)
        domain = [self.labels[value] for value in self.values]
        if self._front:
            domain, looks = [*domain, FRONT], [*looks, (INK, _DASH, [1, 0])]
        shown = domain if self._column else [FRONT] if self._front else []
        legend: Any = {
            "title": axis_name(self._column) if self._column and self._titled else None,
            "values": shown,
            # Else the legend would be as pale as the first layer.
            "symbolOpacity": 1,
            "symbolStrokeWidth": 0,
        }
        return {
            channel: {
                "field": "hue",
                "type": "nominal",
                "scale": {"domain": domain, "range": [look[place] for look in looks]},
                "legend": legend if shown else None,
            }
            for place, channel in enumerate(("color", "shape", "strokeDash"))
        }

    def offsets(self, value: Any) -> tuple[float, float]:
        """Return by how much the means of a value, and its seeds, are moved right on places."""
        count = len(self.values)
        if count == 1:
            return 0.0, -0.12
        step = min(0.8 / count, 0.26)
        middle = (self.values.index(value) - (count - 1) / 2) * step
        return middle + 0.2 * step, middle - 0.25 * step

    @property
    def entry(self) -> int:
        """The approximate width of an entry of the legend, in pixels."""
        return 60 + 7 * max(map(len, self.labels.values()))

    def legend(self, width: float) -> dict[str, Any]:
        """Return Vega-Lite's config of the legend for panels of this width."""
        count = len(self.values) + self._front
        if count > _BESIDE:
            return {"orient": "right", "columns": math.ceil(count / 18)}
        return {"columns": max(1, int(width / self.entry))}


def looks_of(column: str, values: Sequence[Any]) -> list[tuple[str, str, list[int]]]:
    """Return colour, marker and dash of each value; no two are the same.

    Colours of numbers darken steadily, so that their order shows in grey too. Values in `KNOWN`
    look the same in all charts.
    """
    numeric = len(values) > 1 and all(isinstance(value, float | int) for value in values)
    sizes = sorted(values) if numeric else [*values]
    ranks = {value: rank for rank, value in enumerate(KNOWN.get(column, {}))}
    looks = []
    for value in values:
        turn, at = divmod(ranks.setdefault(value, len(ranks)), len(SHAPES))
        step = round(sizes.index(value) * (len(STEPS) - 1) / max(len(values) - 1, 1))
        color = STEPS[step] if numeric else COLOURS[at]
        # After a turn, markers and dashes meet in other pairs.
        shape, dash = SHAPES[(at + turn) % len(SHAPES)], DASHES[(at + 3 * turn) % len(DASHES)]
        looks.append((color, shape, dash))
    return looks
