"""Learning curves: validation accuracy over epochs, mean and 95 % t band over seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis.axes import (
    averaged,
    curve_view,
    finished,
    remarks,
    to_draw,
    unfinished,
    values,
)
from mnv2_jax.analysis.charts.chart import PAGE, Chart
from mnv2_jax.analysis.charts.hues import Hues
from mnv2_jax.analysis.charts.panels import divide_panels, layer, panelled
from mnv2_jax.analysis.charts.rows import Rows, divide, interval, parts_of, seeds_of
from mnv2_jax.schema import column

METRIC = "validation_accuracy"

_MOST_POINTS = 60
"""Of a curve: a screen shows no more."""


def learning_curves(frame: pd.DataFrame, curves: pd.DataFrame) -> Chart | None:
    """Chart the curves of finished runs; a note says what is averaged over.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      curves: one row per run and epoch, as `records.read_curves` returns it.

    Returns:
      None if there is no curve of a finished run.
    """
    every = finished(frame, METRIC)
    table = curve_table(curves)
    measured = every[every["run_id"].isin(table.index)]
    view = curve_view(measured)
    drawn, left_out = to_draw(measured, view.shown)
    if drawn.empty:
        return None
    hues = Hues(view.hue, values(drawn, view.hue) if view.hue else [])
    hidden = averaged(drawn, view.shown[1:])
    rows = Rows()
    panels = divide_panels(drawn, view.panels)
    for title, runs in panels:
        for hue, of_hue in divide(runs, view.hue).items():
            shared = {"panel": title, "hue": hues.labels[hue], "line": hues.labels[hue]}
            put_curve(rows, of_hue, table, shared, hidden)
    spec = panelled(curve_layers(rows, hues), [title for title, _ in panels], hues)
    bands = ["Bands are 95 % t intervals over seeds."] if drawn["seed"].nunique() > 1 else []
    said = [*bands, *remarks(drawn, view.shown[1:]), *left_out, *unfinished(frame, measured)]
    return Chart("Learning curves", spec, rows.rows, rows.sets, said)


def curve_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the curves in per cent, a row per run id and a column per epoch."""
    measured = curves.dropna(subset=METRIC)
    return 100 * measured.pivot_table(index="run_id", columns="epoch", values=METRIC)


def put_curve(
    rows: Rows,
    runs: pd.DataFrame,
    table: pd.DataFrame,
    shared: dict[str, Any],
    hidden: Sequence[str] = (),
    since: float = 0.0,
) -> None:
    """Add a mean curve and its band, as far as all of its runs have come.

    Args:
      rows: to add to.
      runs: that the curve is the mean of.
      table: as `curve_table` returns it.
      shared: fields of all of its rows.
      hidden: axes that a seed is averaged over.
      since: the first epoch to draw.
    """
    whole = rows.set_of(runs.index)
    for part, of in [(runs, None), *((part, whole) for part in parts_of(runs, hidden))]:
        number = rows.set_of(part.index, of)
        shown = table.loc[part["run_id"]].dropna(axis="columns")
        shown = shown.loc[:, shown.columns >= since]
        count = len(shown.columns)
        spread = np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).round().astype(int))
        places = {run: place for place, run in enumerate(part.index)}
        by_seed = [[places[run] for run in own] for own in seeds_of(part).values()]
        lines = shown.to_numpy()[:, spread]
        means = np.array([lines[own].mean(axis=0) for own in by_seed])
        marked = max(1, len(spread) // 8)
        for place, epoch in enumerate(shown.columns[spread]):
            found = interval(means[:, place].tolist(), 3) | {"seeds": len(by_seed), "set": number}
            rows.add("curve", **shared, x=epoch, **found, marked=place % marked == 0)


def curve_layers(rows: Rows, hues: Hues, **titles: Any) -> list[dict[str, Any]]:
    """Return the layers of bands, lines and their markers.

    Args:
      rows: that they will draw, by which the height is set.
      hues: of the lines.
      titles: of `x` and `y`, where they are not epochs and validation accuracy.
    """
    looks = hues.encoding()
    ends = [row[end] for row in rows.rows for end in ("low", "y", "high") if row[end] is not None]
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 1.0
    # Bands of few seeds reach beyond what an accuracy can be.
    bottom = max(low - margin, -2) if low < 0 else low - margin
    top = min(high + margin, 102) if high > 100 else high + margin
    epochs = sorted({row["x"] for row in rows.rows})
    x = {
        "field": "x",
        "type": "quantitative",
        "title": titles.get("x", "Epoch"),
        "scale": {"domain": [epochs[0], epochs[-1]], "nice": False, "zero": False, "padding": 8},
        "axis": {"tickCount": 6, "tickMinStep": 1, "format": ".6~g"},
    }
    y = {
        "field": "y",
        "type": "quantitative",
        "title": titles.get("y", column(METRIC).title),
        "scale": {"domain": [bottom, top], "nice": False, "zero": False},
    }
    told = [
        {"field": "hue", "type": "nominal", "title": "Mean of"},
        {"field": "panel", "type": "nominal", "title": "Panel"},
        {"field": "x", "title": x["title"]},
        {"field": "y", "format": ".1f", "title": "%"},
        {"field": "low", "format": ".1f", "title": "95 % from"},
        {"field": "high", "format": ".1f", "title": "to"},
        {"field": "seeds", "title": "Seeds"},
    ]
    color, line = looks["color"], {"field": "line", "type": "nominal"}
    dash, shape = looks["strokeDash"], looks["shape"]
    point = {"type": "point", "filled": True, "opacity": 1}
    return [
        layer("curve", {"type": "area", "opacity": 0.15, "clip": True},
              x=x, y=y | {"field": "low"}, y2={"field": "high"}, color=color, detail=line),
        layer("curve", {"type": "line", "strokeWidth": 1.8, "clip": True},
              x=x, y=y, color=color, strokeDash=dash, detail=line),
        layer("datum.marked", point | {"size": 45, "stroke": PAGE, "strokeWidth": 1},
              x=x, y=y, color=color, shape=shape),
        # Lines are too thin to be hit; points that are not seen, but hit, speak for them.
        layer("curve", point | {"size": 90, "opacity": 0}, x=x, y=y, color=color, tooltip=told),
    ]  # fmt: skip
