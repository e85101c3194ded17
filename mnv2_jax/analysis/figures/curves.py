"""Learning curves: validation accuracy over epochs, mean and 95 % t band over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mnv2_jax.analysis import stats
from mnv2_jax.analysis.figures.accuracy import PLAIN
from mnv2_jax.analysis.figures.axes import (
    curve_view,
    finished,
    remarks,
    to_draw,
    unfinished,
    values,
)
from mnv2_jax.analysis.figures.panels import legend, make_panels, name_axes, note
from mnv2_jax.analysis.figures.style import axis_name, looks, nothing_to_draw, value_name
from mnv2_jax.analysis.records import design_axes
from mnv2_jax.schema import column

METRIC = "validation_accuracy"


def learning_curves(frame: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Draws the curves of finished runs; a note says what is averaged over.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      curves: one row per run and epoch, as `records.read_curves` returns it.
    """
    every = finished(frame, METRIC)
    measured = every[every["run_id"].isin(with_axes(curves, every)["run_id"])]
    view = curve_view(measured)
    drawn, left_out = to_draw(measured, view.shown)
    rows = with_axes(curves, drawn)
    if rows.empty:
        return nothing_to_draw("No learning curve of a finished run to draw.")
    hues = values(drawn, view.hue) if view.hue else []
    look_of = looks(view.hue or "", hues)
    figure, panels = make_panels(rows, view.panels)
    for axis, in_panel in panels:
        for hue in hues:
            of_hue = in_panel[in_panel[view.hue] == hue]
            draw_curve(axis, of_hue, look_of[hue], value_name(view.hue or "", hue))
        if not hues:
            draw_curve(axis, in_panel, PLAIN)
    axes = [axis for axis, _ in panels]
    _fit(axes)
    name_axes(axes, "Epoch", column(METRIC).title)
    legend(figure, axes, axis_name(view.hue) if view.hue else "")
    bands = "Bands are 95 % t intervals over seeds."
    said = [*remarks(drawn, view.shown[1:]), *left_out, *unfinished(frame, measured)]
    note(figure, [bands, *said] if drawn["seed"].nunique() > 1 else said)
    return figure


def _fit(axes: Sequence[Axes]) -> None:
    """Keeps the height to what an accuracy can be, where bands of few seeds reach beyond."""
    low = min(axis.dataLim.y0 for axis in axes)
    high = max(axis.dataLim.y1 for axis in axes)
    bottom, top = axes[0].get_ylim()
    axes[0].set_ylim(max(bottom, -2) if low < 0 else bottom, min(top, 102) if high > 100 else top)


def with_axes(curves: pd.DataFrame, done: pd.DataFrame) -> pd.DataFrame:
    """The curves of the runs in `done`, each epoch with the run's seed and design axes."""
    measured = curves.dropna(subset=METRIC)[["run_id", "epoch", METRIC]]
    return measured.merge(done[["run_id", "seed", *design_axes(done)]], on="run_id")


def draw_curve(axis: Axes, rows: pd.DataFrame, look: Mapping[str, Any], label: str = "") -> None:
    """Draws one mean and its band, as far as all of the runs have come."""
    if rows.empty:
        return
    runs = rows.groupby("epoch")["run_id"].nunique()
    rows = rows[rows["epoch"].isin(runs.index[runs == runs.max()])]
    per_seed = 100 * rows.groupby(["epoch", "seed"])[METRIC].mean()
    intervals = per_seed.groupby(level=0).agg(lambda v: stats.t_interval(v.to_numpy(), 0.95))
    epochs = intervals.index.to_numpy()
    low, high = [i.low for i in intervals], [i.high for i in intervals]
    axis.fill_between(epochs, low, high, color=look["color"], alpha=0.14, linewidth=0)
    axis.plot(
        epochs,
        [i.estimate for i in intervals],
        label=label or "_",
        markevery=max(1, len(epochs) // 8),
        markeredgecolor="white",
        **look,
    )
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
