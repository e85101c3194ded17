"""The forest beside the report's claims: intervals as SVG, on one scale for each unit."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mnv2_jax.analysis import units
from mnv2_jax.analysis.claims import shown

Row = Mapping[str, Any]

_WIDTH, _HEIGHT, _MIDDLE = 300, 26, 13
_SHAPES = {
    "supported": "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0",
    "refuted": "M-4.5,-4.5h9v9h-9z",
    "negligible": "M0,-5.5l6,10h-12z",
    "inconclusive": "M0,-6l6,6l-6,6l-6,-6z",
    "ruined": "M-2,-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
}


class Forest:
    """The scale of claims whose metrics have one unit."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Make room for estimates and 0; intervals that are far wider are cut at the edges."""
        measured = [row for row in rows if row["estimate"] is not None]
        points = [0.0, *(row["estimate"] for row in measured)]
        points += [end for row in measured for end in shown(row)["band"] or ()]
        ends = [row[name] for row in measured for name in ("ci_low", "ci_high")]
        ends = [end for end in ends if end is not None]
        low, high = min(points), max(points)
        room = high - low or 1.0
        self._low = max(min([low, *ends]), low - room)
        self._high = min(max([high, *ends]), high + room)
        margin = 0.05 * (self._high - self._low or 1.0)
        self._low, self._high = self._low - margin, self._high + margin
        self._measures = [units.measure_of_row(row) for row in rows]

    def interval(self, row: Row) -> str:
        """Return a claim's estimate and interval; empty if it was not measured."""
        if row["estimate"] is None:
            return _svg("", _HEIGHT)
        parts = []
        if band := shown(row)["band"]:
            left, right = map(self._x, band)
            size = f'width="{right - left:.1f}" height="20"'
            parts.append(f'<rect class="margin" x="{left:.1f}" y="3" {size}/>')
        zero = self._x(0)
        parts.append(f'<path class="zero" d="M{zero:.1f},-20V999"/>')  # The row cuts it off.
        if row["ci_low"] is not None:
            low, high = self._x(row["ci_low"]), self._x(row["ci_high"])
            parts.append(f'<path class="line" d="M{low:.1f},{_MIDDLE}H{high:.1f}"/>')
            # An arrow where the interval goes on beyond the edge.
            if row["ci_low"] < self._low:
                parts.append(
                    f'<path class="line" d="M7,{_MIDDLE - 5}L1,{_MIDDLE}L7,{_MIDDLE + 5}"/>'
                )
            if row["ci_high"] > self._high:
                tip, back = _WIDTH - 1, _WIDTH - 7
                arrow = f"M{back},{_MIDDLE - 5}L{tip},{_MIDDLE}L{back},{_MIDDLE + 5}"
                parts.append(f'<path class="line" d="{arrow}"/>')
        at = f"translate({self._x(row['estimate']):.1f},{_MIDDLE})"
        parts.append(f'<path class="mark" transform="{at}" d="{_SHAPES[row["verdict"]]}"/>')
        return _svg("".join(parts), _HEIGHT, row["verdict"])

    def axis(self) -> str:
        """Return the scale's ticks and title."""
        factor = self._measures[0].factor
        parts = [
            f'<path class="zero" d="M{self._x(tick / factor):.1f},0v5"/>'
            f'<text x="{self._x(tick / factor):.1f}" y="17">{text}</text>'
            for tick, text in _ticks(factor * self._low, factor * self._high)
        ]
        title = escape(units.of_differences(self._measures))
        parts.append(f'<text x="{_WIDTH / 2}" y="34">{title}</text>')
        return _svg("".join(parts), 40)

    def _x(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return min(max(share, 0.0), 1.0) * _WIDTH


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return three to six round numbers between two, with their texts."""
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next(step * times for times in (0.5, 1, 2, 5) if (high - low) / (step * times) <= 6)
    digits = max(0, -math.floor(math.log10(step)))
    ticks = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [(step * tick, f"{step * tick:.{digits}f}".replace("-", "−")) for tick in ticks]


def _svg(content: str, height: int, css: str = "") -> str:
    """Return a picture that says nothing but what the sentence beside it says."""
    return f'<svg class="{css}" viewBox="0 0 {_WIDTH} {height}" aria-hidden="true">{content}</svg>'
