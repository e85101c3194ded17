"""Means over seeds as lines with bands, or as marks with bars, and seeds as points."""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis.charts.chart import PAGE, is_whole
from mnv2_jax.analysis.charts.hues import Hues
from mnv2_jax.analysis.charts.panels import GIVEN_ENDS, layer
from mnv2_jax.analysis.means import t_interval
from mnv2_jax.analysis.seeds import of_whole, recorded
from mnv2_jax.schema import Column

_MOST_LETTERS = 44  # In a line of an axis title.


class Rows:
    """The rows and sets of runs of a `Chart`, each set once."""

    def __init__(self, frame: pd.DataFrame | None = None) -> None:
        """Begin without rows.

        Args:
          frame: all runs, where means are over several cells of the design. Seeds that some of the
            cells lack are left out of such a mean: the others may be better ones.
        """
        self._seeds = None if frame is None else recorded(frame)
        self._left_out = False
        self.rows: list[dict[str, Any]] = []
        self.sets: list[dict[str, Any]] = []
        self._numbers: dict[tuple[tuple[int, ...], int | None], int] = {}

    def set_of(self, runs: Iterable[int], of: int | None = None) -> int:
        """Return the number of a set of runs, by their positions; it may be part `of` another."""
        key = tuple(sorted(runs)), of
        if key not in self._numbers:
            self._numbers[key] = len(self.sets)
            self.sets.append({"runs": list(key[0])} | ({} if of is None else {"of": of}))
        return self._numbers[key]

    def add(self, part: str, **fields: Any) -> None:
        """Add a row of a part of the chart, such as `mean`; NaN becomes null."""
        for name, value in fields.items():
            plain = value.item() if isinstance(value, np.generic) else value
            if isinstance(plain, float):
                plain = round(plain, 6) if math.isfinite(plain) else None
            fields[name] = plain
        self.rows.append({"part": part, **fields})

    def add_mean(
        self,
        runs: pd.DataFrame,
        measured: Mapping[int, float],
        parts: Iterable[pd.DataFrame] = (),
        *,
        seeds_at: float | None = None,
        interval: bool = True,
        **fields: Any,
    ) -> None:
        """Add a mean over seeds, whose runs are averaged first, with its 95 % t interval.

        Args:
          runs: that the mean is of.
          measured: values of runs by position.
          parts: of the runs, of which a reader may choose one; each has a mean of its own.
          seeds_at: x of the seeds' points; None for none.
          interval: whether it is drawn.
          fields: further ones of the rows.
        """
        if self._seeds is not None:
            every, runs = runs, of_whole(runs, self._seeds)
            self._left_out |= len(runs) < len(every)
        whole, seeds = self.set_of(runs.index), _by_seed(runs)
        those = (part[part["seed"].isin(seeds)] for part in parts)
        for part, of in [(runs, None), *((part, whole) for part in those)]:
            means = []
            for seed, positions in _by_seed(part).items():
                means.append(sum(measured[one] for one in positions) / len(positions))
                if seeds_at is None or (of is not None and len(positions) == len(seeds[seed])):
                    continue
                number = self.set_of(positions, None if of is None else self.set_of(seeds[seed]))
                place = {"x": seeds_at, "y": means[-1], "seed": seed, "set": number}
                self.add("point", **fields | place)
            mean = t_interval(np.array(means), 0.95)
            own = {"y": mean.estimate, "seeds": len(means), "set": self.set_of(part.index, of)}
            low, high = (mean.low, mean.high) if interval else (None, None)
            self.add("mean", **fields, **own, low=low, high=high)

    def limits(
        self, measure: Column, *, parts: bool = False, panel: str | None = None
    ) -> list[float]:
        """Return the ends of y by the points: wide intervals of two seeds would flatten all else.

        Nothing is shown below 0 of what is never negative, nor above 100 %, but for a tenth of the
        room, so that points there are whole. With `parts`, means of parts have room as well. With a
        panel's title, the ends are those of the panel.
        """
        rows = [row for row in self.rows if parts or is_whole(row, self.sets)]
        if panel is not None:
            rows = [row for row in rows if row["panel"] == panel]
        points = [row["y"] for row in rows]
        ends = [row[end] for row in rows for end in ("low", "high") if row.get(end) is not None]
        low, high = min(points), max(points)
        # Differences in the last digit that is shown do not fill the figure.
        room = max(high - low, 10 * 10.0**-measure.digits) / 2
        bottom, top = min([low, *ends]), max([high, *ends])
        margin = 0.05 * (top - bottom)
        bottom, top = max(bottom - margin, low - room), min(top + margin, high + room)
        if low >= 0:
            bottom = max(bottom, -0.1 * room)
        return [bottom, min(top, 100 + 0.1 * room) if measure.unit == "%" else top]

    def bands(self) -> list[str]:
        """Return a chart's note on its bands and bars."""
        kinds = {row.get("kind") for row in self.rows if row.get("low") is not None}
        named = " and ".join(f"{kind}s" for kind in ("band", "bar") if kind in kinds)
        notes = [f"{named.capitalize()} are 95 % t intervals over seeds."] if named else []
        if self._left_out:
            notes.append("Means are of seeds that all averaged runs have.")
        return notes


def _by_seed(runs: pd.DataFrame) -> dict[int, list[int]]:
    """Return the positions of runs by their seeds."""
    positions: dict[int, list[int]] = {}
    for position, seed in zip(runs.index.tolist(), runs["seed"].tolist(), strict=True):
        positions.setdefault(int(seed), []).append(position)
    return dict(sorted(positions.items()))


def parts_of(runs: pd.DataFrame, hidden: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the runs of each value of each axis that a mean averages over."""
    for axis in hidden:
        if runs[axis].nunique(dropna=False) > 1:
            yield from (part for _, part in runs.groupby(axis, dropna=False))


def divide(runs: pd.DataFrame, column: str | None) -> dict[Any, pd.DataFrame]:
    """Return runs by their values in a column; without one, all under None."""
    return dict(iter(runs.groupby(column, sort=False))) if column else {None: runs}


def layers_of(
    x: dict[str, Any],
    hues: Hues,
    title: str,
    digits: int,
    ends: list[float] | None = None,
    *,
    below: bool = False,
) -> list[dict[str, Any]]:
    """Return the layers of points, means and intervals.

    Args:
      x: its channel.
      hues: of the lines.
      title: of y.
      digits: that tooltips show.
      ends: of y; by default those of `panelled`.
      below: whether any y is negative.
    """
    looks = hues.encoding()
    color, shape, line = looks["color"], looks["shape"], {"field": "line", "type": "nominal"}
    y = y_channel(title, ends, below=below)
    at, between = {"x": x, "y": y}, {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}}
    named = {"at": x["title"], "hue": "Line", "panel": "Panel"}
    numbers = {"y": "Mean", "low": "95 % from", "high": "to"}
    tooltip = [
        *({"field": field, "type": "nominal", "title": name} for field, name in named.items()),
        *({"field": one, "format": f".{digits}f", "title": name} for one, name in numbers.items()),
        {"field": "seeds", "title": "Seeds"},
    ]
    # Intervals alone may leave the axis; to clip the other marks too would double the time of PNGs.
    mark = {"type": "point", "filled": True}
    small = mark | {"size": 18, "opacity": 0.5, "tooltip": {"content": "data"}}
    large = mark | {"size": 55, "opacity": 1, "stroke": PAGE, "strokeWidth": 1}
    area = {"type": "area", "opacity": 0.15, "clip": True}
    stroke, rule = (
        {"type": "line", "strokeWidth": 2},
        {"type": "rule", "strokeWidth": 2, "clip": True},
    )
    kinds = ("kind === 'band'", "kind === 'bar'", "kind === 'training'", "marked !== false")
    band, bar, thin, marked = (f"datum.part === 'mean' && datum.{kind}" for kind in kinds)
    dash = looks["strokeDash"]
    return [
        layer(band, area, **between, color=color, detail=line),
        layer(bar, rule, **between, color=color),
        layer("point", small, **at, color=color, shape=shape),
        layer(thin, stroke | {"strokeWidth": 0.8}, **at, color=color, detail=line),
        layer(band, stroke, **at, color=color, strokeDash=dash, detail=line),
        layer(marked, large, **at, color=color, shape=shape, tooltip=tooltip),
    ]


def wrapped(title: str) -> str | list[str]:
    """Return an axis title, in lines if it would be longer than a panel."""
    lines = textwrap.wrap(title, _MOST_LETTERS)
    return lines if len(lines) > 1 else title


def y_channel(title: str, ends: list[float] | None = None, *, below: bool) -> dict[str, Any]:
    """Return the channel `y`; for the arguments see `layers_of`."""
    y: dict[str, Any] = {
        "field": "y",
        "type": "quantitative",
        "title": wrapped(title),
        "scale": {"nice": False, "zero": False, **({"domain": ends} if ends else GIVEN_ENDS)},
    }
    if title.endswith("(%)"):  # The axis may be longer, for points and names.
        beyond = "datum.value > 100" if below else "datum.value > 100 || datum.value < 0"
        y["axis"] = {"labelExpr": f"{beyond} ? '' : datum.label"}
    return y
