"""A measure over what a network costs."""

from collections.abc import Iterator

import pandas as pd

from mnv2_jax.analysis.axes import (
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
from mnv2_jax.analysis.charts.accuracy import intervals, layers_of, limits, put_line
from mnv2_jax.analysis.charts.chart import INK, Chart
from mnv2_jax.analysis.charts.hues import FRONT, Hues
from mnv2_jax.analysis.charts.panels import NARROW, divide_panels, layer, panelled
from mnv2_jax.analysis.charts.pareto import front_of, label_width, without_overlaps
from mnv2_jax.analysis.charts.rows import Rows
from mnv2_jax.analysis.charts.scales import scale_of
from mnv2_jax.analysis.names import axis_name, value_name
from mnv2_jax.analysis.records import describe, design_axes

_MOST_LINES = 24
"""More lines in a panel would hide each other."""


def accuracy_over_cost(
    frame: pd.DataFrame, view: View, metric: str = "test_accuracy"
) -> Chart | None:
    """Chart every network at its cost: its seeds, mean and interval, and the front of all means.

    Nothing is averaged but seeds. Networks that differ in one axis of numbers alone are joined.
    Where there are several data sets, each has a front. Pretraining, on other classes, has none.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      view: what to show, with one of `axes.COSTS` on x.
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
    hues = Hues(view.hue, values(done, view.hue) if view.hue else [], front=True)
    main = main_number(done, view.shown)
    panels = divide_panels(done, view.panels)
    lines = [(title, line) for title, runs in panels for line in _lines(runs, main, view.x)]
    joined = any(line[view.x].nunique() > 1 for _, line in lines)
    crowded = len(lines) > _MOST_LINES * len(panels)
    rows = Rows()
    for number, (title, line) in enumerate(lines):
        hue = line[view.hue].iloc[0] if view.hue else None
        shared = {"panel": title, "hue": hues.labels[hue], "line": str(number)}
        put_line(rows, line, scale, measure, shared)
    if crowded:
        rows.rows = [
            row | {"kind": "", "low": None, "high": None}
            for row in rows.rows
            if row["part"] == "mean"
        ]
    said = intervals(rows)
    up = 1 if measure.better == "higher" else -1
    ends = limits(rows, measure)
    x = scale.encoding()
    room = 0.14 * (ends[1] - ends[0])  # of a name
    rivals = without_pretraining(done)  # None of pretraining: its classes are others.
    for _, runs in rivals.groupby("dataset"):
        front = front_of(runs, view.x, measure)
        number, unnamed = rows.set_of(runs.index), False
        for title, in_panel in panels:
            if not in_panel.index.isin(runs.index).any():
                continue
            for at, value in front.steps:
                rows.add("front", panel=title, x=at, y=value, hue=FRONT, set=number)
            members = front.in_panel(in_panel)
            labels = without_overlaps(members, tuple(x["scale"]["domain"]), ends, up)
            unnamed |= len(labels) < len(members)
            for at, value, _ in members:
                rows.add("member", panel=title, x=at, y=value, set=number)
            for at, value, label in labels:
                rows.add("name", panel=title, x=at, y=value, text=label, set=number)
                low, high = x["scale"]["domain"]
                left = at / (high / low) ** (label_width(label) / NARROW)
                x["scale"]["domain"] = [min(low, left), high]
                ends = min(ends[0], value - room * (up < 0)), max(ends[1], value + room * (up > 0))
        said.append(front.note(unnamed=unnamed))
    if crowded:
        said.append("Points are means over seeds; there are too many to join or to give intervals.")
    elif main and joined:
        along = ", ".join(value_name(main, value) for value in values(done, main))
        said.append(f"Lines join {axis_name(main).lower().removesuffix(' t')} {along}.")
    layers = layers_of(scale, x, hues, measure, ends)
    place = {"x": x, "y": layers[-1]["encoding"]["y"]}
    step = {"type": "line", "interpolate": "step-after", "strokeWidth": 1}
    ring = {"type": "point", "size": 130, "color": INK, "strokeWidth": 1, "opacity": 1}
    words = {
        "type": "text",
        "fontSize": 11,
        "align": "right",
        "dx": -5,
        "dy": -5 * up,
        "color": INK,
    }
    words |= {"dy": -5 * up, "baseline": "bottom" if up > 0 else "top"}
    fronts = [
        layer("front", step, **place, color=layers[-1]["encoding"]["color"]),
        layer("member", ring, **place),
        layer("name", words, **place, text={"field": "text"}),
    ]
    spec = panelled([*layers, *fronts], [title for title, _ in panels], hues)
    hidden = [
        axis
        for axis in varying(done)
        if axis not in (*view.shown, main if joined and not crowded else "")
    ]
    said += [*differ(hidden), *left_out, *unfinished(frame, every)]
    heading = f"{measure.label} over {axis_name(view.x).lower()}"
    return Chart(heading, spec, rows.rows, rows.sets, said)


def _lines(runs: pd.DataFrame, main: str | None, cost: str) -> Iterator[pd.DataFrame]:
    """Divide runs into networks, or lines of networks that differ in the axis `main` alone."""
    axes = [axis for axis in design_axes(runs) if axis != main]
    for _, line in runs.groupby(axes, dropna=False):
        networks = [part for _, part in line.groupby(main, dropna=False)] if main else [line]
        yield from [line] if line[cost].nunique() == len(networks) else networks
