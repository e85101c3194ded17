"""Colours, markers and dashes, and the encodings that give them to the values of an axis.

Colours are Okabe and Ito's, told apart by colour-blind readers; markers and dashes differ too, so
that a grey print reads as well.
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
_DASH = "M-1.5,-0.1h3v0.2h-3z"
"""Its marker, as an SVG path."""

_BESIDE = 6
"""More entries of a legend than this stand beside the panels, not above them."""


class Hues:
    """The values that lines of a chart differ in, and their looks.

    Attributes:
      values: in the order of the legend; a single None where there is no such axis.
      labels: what each is called in the legend; no two are called the same.
    """

    def __init__(self, column: str | None, values: Sequence[Any], *, front: bool = False) -> None:
        """Begin.

        Args:
          column: of results.csv; None for lines that do not differ.
          values: of the column, in order.
          front: whether the legend has the Pareto front too.
        """
        self._column, self._front = column, front
        self.values = list(values) if column else [None]
        names = [value_name(column, value) if column else "" for value in self.values]
        alike = len(set(names)) < len(names)
        self.labels = {
            value: str(value) if alike else name
            for value, name in zip(self.values, names, strict=True)
        }

    def encoding(self) -> dict[str, Any]:
        """Return the channels `color`, `shape` and `strokeDash` of the field `hue`."""
        looks = looks_of(self._column or "", self.values)
        domain = [self.labels[value] for value in self.values]
        if self._front:
            domain, looks = [*domain, FRONT], [*looks, (INK, _DASH, [1, 0])]
        shown = domain if self._column else [FRONT] if self._front else []
        legend: Any = {
            "title": axis_name(self._column) if self._column else None,
            "values": shown,
            # The first layer of a chart is a pale one, which its legend would otherwise follow.
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
        """Return how far right the means of a value stand, and its seeds: these hide no bar."""
        count = len(self.values)
        step = min(0.8 / count, 0.26) if count > 1 else 0.0
        middle = (self.values.index(value) - (count - 1) / 2) * step
        return (middle + 0.2 * step, middle - 0.25 * step) if count > 1 else (0.0, -0.12)

    @property
    def entry(self) -> int:
        """The pixels that an entry of the legend takes, about."""
        return 60 + 7 * max(map(len, self.labels.values()))

    def legend(self, width: float) -> dict[str, Any]:
        """Return the place of the legend, as Vega-Lite's config, beside panels of this width."""
        count = len(self.values) + self._front
        if count > _BESIDE:
            return {"orient": "right", "columns": math.ceil(count / 18)}
        return {"columns": max(1, int(width / self.entry))}


def looks_of(column: str, values: Sequence[Any]) -> list[tuple[str, str, list[int]]]:
    """Return colour, marker and dash of each value, in the order given.

    Numbers run through colours that darken steadily, so that their order shows in grey too. Values
    that have a name of their own look the same whichever others are there. With more values than
    looks, markers and dashes begin again at different places: no two are the same.
    """
    numeric = len(values) > 1 and all(isinstance(value, float | int) for value in values)
    ranks = {value: rank for rank, value in enumerate(KNOWN.get(column, {}))}
    found = []
    for place, value in enumerate(values):
        rank = ranks.setdefault(value, len(ranks))
        turn, at = divmod(rank, len(SHAPES))
        step = round(place * (len(STEPS) - 1) / max(len(values) - 1, 1))
        found.append(
            (
                STEPS[step] if numeric else COLOURS[at],
                SHAPES[(at + turn) % len(SHAPES)],
                DASHES[(at + 3 * turn) % len(DASHES)],
            )
        )
    return found
