"""A measure over any axis: every seed a point, means, and 95 % t intervals over seeds."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mnv2_jax.analysis.axes import View, averaged, finished, remarks, to_draw, unfinished, values
from mnv2_jax.analysis.charts.chart import PAGE, Chart
from mnv2_jax.analysis.charts.hues import Hues
from mnv2_jax.analysis.charts.panels import WIDE, divide_panels, layer, panelled
from mnv2_jax.analysis.charts.rows import Rows, divide, interval, parts_of, seeds_of
from mnv2_jax.analysis.charts.scales import Scale, scale_of
from mnv2_jax.analysis.names import axis_name, value_name
from mnv2_jax.analysis.records import describe
from mnv2_jax.schema import Column


def accuracy(frame: pd.DataFrame, view: View, metric: str = "test_accuracy") -> Chart | None:
    """Chart a metric over an axis; a note says what is averaged over.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      view: what to show; `axes.column` finds its columns.
      metric: a measure.

    Returns:
      None if no run can be drawn.
    """
    measure = describe(frame, metric)
    every = finished(frame, metric)
    done, left_out = to_draw(every, view.shown)
    if done.empty:
        return None
    scale = scale_of(done, view.x)
    hues = Hues(view.hue, values(done, view.hue) if view.hue else [])
    hidden = averaged(done, view.shown)
    rows = Rows()
    panels = divide_panels(done, view.panels)
    for title, runs in panels:
        of_hues = divide(runs, view.hue)
        for place, hue in enumerate(value for value in hues.values if value in of_hues):
            offset = (0.0, -0.12) if view.hue is None else side_by_side(place, len(hues.values))
            shared = {"panel": title, "hue": hues.labels[hue], "line": f"{title} {place}"}
            put_line(rows, of_hues[hue], scale, measure, shared, hidden, offset)
    crowded = int(26 * len(scale.values) * len(hues.values)) if scale.kind == "places" else 0
    spec = panelled(
        layers_of(scale, scale.encoding(), hues, measure, limits(rows, measure)),
        [title for title, _ in panels],
        hues,
        min(max(WIDE, crowded), 650),
    )
    said = [*intervals(rows), *remarks(done, view.shown), *left_out, *unfinished(frame, every)]
    if view.x == "expansion" and 1 in scale.values:
        said.append("At expansion 1 blocks have no expansion layer: that network is shallower.")
    heading = f"{measure.label} over {axis_name(view.x).lower().removesuffix(' t')}"
    return Chart(heading, spec, rows.rows, rows.sets, said)


def put_line(
    rows: Rows,
    runs: pd.DataFrame,
    scale: Scale,
    measure: Column,
    shared: dict[str, Any],
    hidden: Sequence[str] = (),
    offset: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Add the means of a line, with their intervals, and the seeds that they are of.

    Args:
      rows: to add to.
      runs: of the line.
      scale: of x.
      measure: what is drawn.
      shared: fields of all of its rows.
      hidden: axes that a seed is averaged over.
      offset: to the right, of means and of points; names leave room for it, numbers take none.
    """
    digits = max(measure.digits + 3, 4)
    measured = (measure.scale * runs[measure.name]).to_dict()
    cells = divide(runs, scale.column)
    right, left = (0.0, 0.0) if scale.joined else offset
    kind = "band" if scale.joined and len(cells) > 1 else "bar"
    for value, cell in cells.items():
        x, at = scale.at(value), value_name(scale.column, value)
        whole, seeds = rows.set_of(cell.index), seeds_of(cell)
        for part, of in [(cell, None), *((part, whole) for part in parts_of(cell, hidden))]:
            means = []
            for seed, positions in seeds_of(part).items():
                mean = sum(map(measured.__getitem__, positions)) / len(positions)
                means.append(mean)
                if of is None or len(positions) < len(seeds[seed]):
                    within = None if of is None else rows.set_of(seeds[seed])
                    number = rows.set_of(positions, within)
                    y = round(mean, digits)
                    rows.add("point", **shared, x=x + left, y=y, seed=seed, set=number)
            found = {**interval(means, digits), "seeds": len(means), "kind": kind, "at": at}
            rows.add("mean", **shared, x=x + right, **found, set=rows.set_of(part.index, of))


def layers_of(
    scale: Scale, x: dict[str, Any], hues: Hues, measure: Column, ends: tuple[float, float]
) -> list[dict[str, Any]]:
    """Return the layers of seeds, means and intervals.

    Args:
      scale: of x.
      x: its channel.
      hues: of the lines.
      measure: on y.
      ends: of y.
    """
    looks = hues.encoding()
    axis: dict[str, Any] = {}
    if measure.unit == "%":  # Names may stand where no value can.
        axis["labelExpr"] = "datum.value > 100 || datum.value < 0 ? '' : datum.label"
    y = {
        "field": "y",
        "type": "quantitative",
        "title": measure.title,
        "scale": {"domain": list(ends), "nice": False, "zero": False},
        "axis": axis,
    }
    interval = {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}}
    line, number = {"field": "line", "type": "nominal"}, f".{measure.digits}f"
    told = [
        {"field": "at", "type": "nominal", "title": axis_name(scale.column)},
        {"field": "hue", "type": "nominal", "title": "Line"},
        {"field": "panel", "type": "nominal", "title": "Panel"},
        {"field": "y", "format": number, "title": "Mean"},
        {"field": "low", "format": number, "title": "95 % from"},
        {"field": "high", "format": number, "title": "to"},
        {"field": "seeds", "title": "Seeds"},
    ]
    color, shape = looks["color"], looks["shape"]
    seen = {"type": "point", "clip": True, "filled": True}
    band, bar = (f"datum.part === 'mean' && datum.kind === '{kind}'" for kind in ("band", "bar"))
    dividers = [
        {
            "data": {"values": [{"x": place + 0.5} for place in range(len(scale.values) - 1)]},
            "mark": {"type": "rule", "color": "var(--rule)"},
            "encoding": {"x": x},
        }
    ]
    drawn = [
        layer(band, {"type": "area", "opacity": 0.15, "clip": True},
              **interval, color=color, detail=line),
        layer(bar, {"type": "rule", "strokeWidth": 2, "clip": True}, **interval, color=color),
        layer("point", {**seen, "size": 18, "opacity": 0.5, "tooltip": {"content": "data"}},
              x=x, y=y, color=color, shape=shape),
        layer(band, {"type": "line", "strokeWidth": 2, "clip": True},
              x=x, y=y, detail=line, color=color, strokeDash=looks["strokeDash"]),
        layer("mean", {**seen, "size": 55, "opacity": 1, "stroke": PAGE, "strokeWidth": 1},
              x=x, y=y, color=color, shape=shape, tooltip=told),
    ]  # fmt: skip
    return drawn if scale.joined else [*dividers, *drawn]


def limits(rows: Rows, measure: Column) -> tuple[float, float]:
    """Return the ends of y by the points: a wide interval of two seeds would flatten all else.

    Nothing is shown below 0 of what is never negative, nor above 100 %. A tenth of the room stays
    beyond, so that points there are whole.
    """
    points = [row["y"] for row in rows.rows if row["part"] in ("point", "mean")]
    ends = [row[end] for row in rows.rows for end in ("low", "high") if row.get(end) is not None]
    low, high = min(points), max(points)
    # Differences in the last digit that is shown are not made to fill the figure.
    room = max(high - low, 10 * 10.0**-measure.digits) / 2
    bottom, top = min([low, *ends]), max([high, *ends])
    margin = 0.05 * (top - bottom)
    bottom, top = max(bottom - margin, low - room), min(top + margin, high + room)
    if low >= 0:
        bottom = max(bottom, -0.1 * room)
    return bottom, min(top, 100 + 0.1 * room) if measure.unit == "%" else top


def intervals(rows: Rows) -> list[str]:
    """Return what a chart has to say of the bands and bars of its rows."""
    kinds = {row["kind"] for row in rows.rows if row.get("low") is not None}
    words = {"band": "Bands", "bar": "Bars"}
    named = " and ".join(word for kind, word in words.items() if kind in kinds)
    return [f"{named.capitalize()} are 95 % t intervals over seeds."] if named else []


def side_by_side(place: int, count: int) -> tuple[float, float]:
    """The offsets of one of several hues: points stand left of their mean, hiding no bar."""
    step = min(0.8 / count, 0.26)
    middle = (place - (count - 1) / 2) * step
    return middle + 0.2 * step, middle - 0.25 * step
