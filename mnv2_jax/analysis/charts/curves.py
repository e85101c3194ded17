"""Learning curves: accuracy over epochs, mean over seeds; for validation with a 95 % t band."""

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
_TRAIN = "train_accuracy"

_MOST_POINTS = 60  # Of a curve.


def learning_curves(frame: pd.DataFrame, curves: pd.DataFrame) -> Chart | None:
    """Chart the curves of finished runs; return None if there are none."""
    every = finished(frame, METRIC)
    table, training = curve_table(curves), curve_table(curves, _TRAIN)
    measured = every[every["run_id"].isin(table.index)]
    view = curve_view(measured)
    drawn, left_out = to_draw(measured, view.shown)
    if drawn.empty:
        return None
    hues = Hues(view.hue, values(drawn, view.hue) if view.hue else [])
    hidden = averaged(drawn, view.shown[1:])
    rows = Rows(frame)
    panels = divide_panels(drawn, view.panels)
    for title, runs in panels:
        for hue, of_hue in divide(runs, view.hue).items():
            shown: dict[str, Any] = {"panel": title, "hue": hues.labels[hue]}
            put_curve(rows, of_hue, table, hidden, **shown)
            if of_hue["run_id"].isin(training.index).all():
                put_curve(rows, of_hue, training, hidden, kind="training", **shown)
    measure = column(METRIC)
    ends = rows.limits(measure), rows.limits(measure, parts=True)
    titles = [title for title, _ in panels]
    own = [rows.limits(measure, parts=True, panel=title) for title in titles]
    spec = panelled(curve_layers(rows, hues), titles, hues, *ends, own)
    notes = [*rows.bands(), *remarks(drawn, view.shown[1:])]
    if any(row["kind"] == "training" for row in rows.rows):
        notes.append(
            "Thin lines: training images, as many as for validation, also in inference mode."
        )
    notes += [*left_out, *unfinished(frame, measured)]
    return Chart("Learning curves", spec, rows.rows, rows.sets, notes)


def curve_table(curves: pd.DataFrame, metric: str = METRIC) -> pd.DataFrame:
    """Return the curves in per cent, a row per run id and a column per epoch."""
    measured = curves.dropna(subset=metric)
    return 100 * measured.pivot_table(index="run_id", columns="epoch", values=metric)


def put_curve(
    rows: Rows,
    runs: pd.DataFrame,
    table: pd.DataFrame,
    hidden: Sequence[str] = (),
    since: float = 0.0,
    kind: str = "band",
    **fields: Any,
) -> None:
    """Add a mean curve, up to the last epoch that all of its runs reached.

    Args:
      rows: to add to.
      runs: that the curve is the mean of.
      table: as `curve_table` returns it.
      hidden: axes that a seed is averaged over.
      since: the first epoch to draw.
      kind: "band" for a curve with its band, or "training" for a thin line.
      fields: of all of its rows.
    """
    curves = table.loc[runs["run_id"]].set_axis(runs.index).dropna(axis="columns")
    epochs = np.array([epoch for epoch in curves.columns if epoch >= since])
    spread = np.linspace(0, len(epochs) - 1, min(len(epochs), _MOST_POINTS))
    parts, band = list(parts_of(runs, hidden)), kind == "band"
    for place, epoch in enumerate(epochs[np.unique(spread.round().astype(int))]):
        marked = band and place % max(1, len(spread) // 8) == 0
        shown = {"x": epoch, "at": f"{epoch:g}", "marked": marked, "kind": kind}
        rows.add_mean(runs, curves[epoch].to_dict(), parts, interval=band, **shown, **fields)


def curve_layers(
    rows: Rows,
    hues: Hues,
    x: str = "Epoch",
    y: str = column(METRIC).title,
    ends: list[float] | None = None,
) -> list[dict[str, Any]]:
    """Return the layers of curves, with the titles `x` and `y`; x ends with the rows."""
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
