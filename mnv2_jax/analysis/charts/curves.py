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
from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.analysis.charts.hues import Hues
from mnv2_jax.analysis.charts.lines import Rows, divide, layers_of, parts_of
from mnv2_jax.analysis.charts.panels import divide_panels, panelled
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
            put_curve(rows, of_hue, table, hidden, panel=title, hue=hues.labels[hue])
    measure = column(METRIC)
    ends = rows.limits(measure), rows.limits(measure, parts=True)
    spec = panelled(curve_layers(rows, hues), [title for title, _ in panels], hues, *ends)
    said = [*rows.bands(), *remarks(drawn, view.shown[1:]), *left_out, *unfinished(frame, measured)]
    return Chart("Learning curves", spec, rows.rows, rows.sets, said)


def curve_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the curves in per cent, a row per run id and a column per epoch."""
    measured = curves.dropna(subset=METRIC)
    return 100 * measured.pivot_table(index="run_id", columns="epoch", values=METRIC)


def put_curve(
    rows: Rows,
    runs: pd.DataFrame,
    table: pd.DataFrame,
    hidden: Sequence[str] = (),
    since: float = 0.0,
    **fields: Any,
) -> None:
    """Add a mean curve and its band, as far as all of its runs have come.

    Args:
      rows: to add to.
      runs: that the curve is the mean of.
      table: as `curve_table` returns it.
      hidden: axes that a seed is averaged over.
      since: the first epoch to draw.
      fields: of all of its rows.
    """
    curves = table.loc[runs["run_id"]].set_axis(runs.index).dropna(axis="columns")
    epochs = np.array([epoch for epoch in curves.columns if epoch >= since])
    spread = np.linspace(0, len(epochs) - 1, min(len(epochs), _MOST_POINTS))
    parts = list(parts_of(runs, hidden))
    for place, epoch in enumerate(epochs[np.unique(spread.round().astype(int))]):
        shown = {"x": epoch, "at": f"{epoch:g}", "marked": place % max(1, len(spread) // 8) == 0}
        rows.add_mean(runs, curves[epoch].to_dict(), parts, kind="band", **shown, **fields)


def curve_layers(
    rows: Rows,
    hues: Hues,
    x: str = "Epoch",
    y: str = column(METRIC).title,
    ends: list[float] | None = None,
) -> list[dict[str, Any]]:
    """Return the layers of curves.

    Args:
      rows: that they will draw, whose epochs x has.
      hues: of the lines.
      x: the title of x.
      y: the title of y.
      ends: see `lines.layers_of`.
    """
    places = [row["x"] for row in rows.rows]
    scale = {"domain": [min(places), max(places)], "nice": False, "zero": False, "padding": 8}
    channel = {
        "field": "x",
        "type": "quantitative",
        "title": x,
        "scale": scale,
        "axis": {"tickCount": 6, "tickMinStep": 1, "format": ".6~g"},
    }
    return layers_of(channel, hues, y, column(METRIC).digits, ends)
