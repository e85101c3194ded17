"""A measure over what a network costs."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from mnv2_jax.analysis.figures.accuracy import PLAIN, draw, draw_means, fit, intervals, seed_values
from mnv2_jax.analysis.figures.axes import (
    View,
    differ,
    finished,
    main_number,
    to_draw,
    unfinished,
    values,
    varying,
    without_pretraining,
)
from mnv2_jax.analysis.figures.panels import legend, make_panels, name_axes, note
from mnv2_jax.analysis.figures.pareto import draw_front
from mnv2_jax.analysis.figures.scales import put_on, scale_of
from mnv2_jax.analysis.figures.style import axis_name, looks, nothing_to_draw, value_name
from mnv2_jax.analysis.records import describe, design_axes

_MOST_LINES = 24
"""More lines in a panel would hide each other."""


def accuracy_over_cost(frame: pd.DataFrame, view: View, metric: str = "test_accuracy") -> Figure:
    """Draws every network at its cost: its seeds, mean and interval, and the front of all means.

    Nothing is averaged but seeds. Networks that differ in one axis of numbers alone are joined.
    Where there are several data sets, each has a front. Pretraining, on other classes, has none.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      view: what to show, with one of `axes.COSTS` on x.
      metric: a measure.
    """
    measure = describe(frame, metric)
    every = finished(frame, metric)
    done, left_out = to_draw(every, view.shown)
    if done.empty:
        return nothing_to_draw("No finished run to draw.")
    scale = scale_of(done, view.x)
    look_of = looks(view.hue or "", values(done, view.hue) if view.hue else [])
    main = main_number(done, view.shown)
    figure, panels = make_panels(done, view.panels)
    lines = [(axis, line) for axis, runs in panels for line in _lines(runs, main, view.x)]
    joined = any(line[view.x].nunique() > 1 for _, line in lines)
    crowded = len(lines) > _MOST_LINES * len(panels)
    for axis, _ in panels:
        put_on(axis, scale)
    drawn = []
    for axis, line in lines:
        hue = line[view.hue].iloc[0] if view.hue else None
        look, label = (look_of[hue], value_name(view.hue, hue)) if view.hue else (PLAIN, "")
        drawn.append(seed_values(line, view.x, measure))
        (draw_means if crowded else draw)(axis, drawn[-1], scale, look, label)
    axes = [axis for axis, _ in panels]
    fit(axes[0], drawn, measure)
    said = [] if crowded else intervals(drawn, scale)
    rivals = without_pretraining(done)  # None of pretraining: its classes are others.
    for _, runs in rivals.groupby("dataset"):
        own = [(axis, part) for axis, part in panels if part.index.isin(runs.index).any()]
        said += draw_front(runs, view.x, measure, own)
    if crowded:
        said.append("Points are means over seeds; there are too many to join or to give intervals.")
    elif main and joined:
        along = ", ".join(value_name(main, value) for value in values(done, main))
        said.append(f"Lines join {axis_name(main).lower().removesuffix(' t')} {along}.")
    name_axes(axes, axis_name(view.x), measure.title)
    legend(figure, axes, axis_name(view.hue) if view.hue else "")
    hidden = [
        axis
        for axis in varying(done)
        if axis not in (*view.shown, main if joined and not crowded else "")
    ]
    note(figure, [*said, *differ(hidden), *left_out, *unfinished(frame, every)])
    return figure


def _lines(runs: pd.DataFrame, main: str | None, cost: str) -> Iterator[pd.DataFrame]:
    """Divides runs into networks, or lines of networks that differ in the axis `main` alone."""
    axes = [axis for axis in design_axes(runs) if axis != main]
    for _, line in runs.groupby(axes, dropna=False):
        networks = [part for _, part in line.groupby(main, dropna=False)] if main else [line]
        yield from [line] if line[cost].nunique() == len(networks) else networks
