"""A measure over an axis, or over the cost of networks: seeds, means and intervals."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pandas as pd

from mnv2_jax.analysis.axes import (
    COSTS,
    View,
    averaged,
    differ,
    finished,
    is_number,
    main_number,
    remarks,
    to_draw,
    unfinished,
    values,
    varying,
    without_pretraining,
)
from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.analysis.charts.hues import Hues
from mnv2_jax.analysis.charts.lines import Rows, divide, layers_of, parts_of
from mnv2_jax.analysis.charts.panels import WIDE, divide_panels, panelled
from mnv2_jax.analysis.charts.pareto import front_layers, put_front, with_room
from mnv2_jax.analysis.charts.scales import Scale, scale_of
from mnv2_jax.analysis.names import lower_name, value_name
from mnv2_jax.analysis.tables import describe, design_axes
from mnv2_jax.schema import Column

_MOST_LINES = 24  # In a panel over a cost; more would hide each other.


def accuracy(
    frame: pd.DataFrame, view: View, metric: str = "test_accuracy", *, joined: bool = False
) -> Chart | None:
    """Chart a measure over an axis, or over a cost; return None if no run can be drawn.

    Lines join numbers, and with `joined` names as well.

    Over an axis a note names the axes that are averaged over. Over a cost only seeds are averaged:
    networks that differ in one axis of numbers alone are joined, and each data set has the Pareto
    front of its means; pretraining, on other classes, has none.
    """
    measure = describe(frame, metric)
    every = finished(frame, metric)
    done, left_out = to_draw(every, view.shown)
    if done.empty:
        return None
    over_cost = view.x in COSTS
    scale = scale_of(done, view.x)
    scale = dataclasses.replace(scale, joined=scale.joined or joined)
    hues = Hues(view.hue, values(done, view.hue) if view.hue else [], front=over_cost)
    panels = divide_panels(done, view.panels)
    main = main_number(done, view.shown) if over_cost else None
    lines = [
        (title, line)
        for title, runs in panels
        for line in (
            _networks(runs, main, view.x) if over_cost else divide(runs, view.hue).values()
        )
    ]
    hidden = [] if over_cost else averaged(done, view.shown)
    crowded = over_cost and len(lines) > _MOST_LINES * len(panels)
    rows = Rows(frame)
    _put_lines(rows, lines, scale, hues, view, measure, hidden, crowded)
    x, ends = scale.encoding(), rows.limits(measure)
    with_parts = rows.limits(measure, parts=True)
    own = [rows.limits(measure, parts=True, panel=title) for title, _ in panels]
    below = any(row["y"] < 0 for row in rows.rows)
    layers = layers_of(x, hues, measure.title, measure.digits, below=below)
    notes = rows.bands()
    if over_cost:
        for _, rivals in without_pretraining(done).groupby("dataset"):
            notes.append(put_front(rows, rivals, view.x, measure, panels, x, ends))
        layers = front_layers(layers, measure, ends)
        with_parts, own = ends, [with_room(one, measure) for one in own]
        notes += _on_lines(done, view, main, crowded, lines)
    else:
        notes += remarks(done, view.shown)
    notes += [*left_out, *unfinished(frame, every)]
    if scale.kind == "places" and is_number(done, view.x):
        notes.append(f"Values of {lower_name(view.x)} are evenly spaced.")
    if view.x == "expansion" and 1 in scale.values:
        notes.append("At expansion 1 blocks have no expansion layer: that network is shallower.")
    width = min(max(WIDE, 26 * len(scale.values) * len(hues.values)), 650)
    spec = panelled(
        [*scale.dividers(), *layers],
        [title for title, _ in panels],
        hues,
        ends,
        with_parts,
        own,
        WIDE if scale.joined else width,
    )
    return Chart(f"{measure.label} over {lower_name(view.x)}", spec, rows.rows, rows.sets, notes)


def _put_lines(
    rows: Rows,
    lines: list[tuple[str, pd.DataFrame]],
    scale: Scale,
    hues: Hues,
    view: View,
    measure: Column,
    hidden: list[str],
    crowded: bool,
) -> None:
    """Add means and seeds of lines, each given with the title of its panel."""
    for number, (title, line) in enumerate(lines):
        hue = line[view.hue].iloc[0] if view.hue else None
        measured = (measure.scale * line[measure.name]).to_dict()
        cells = divide(line, view.x)
        band = scale.joined and len(cells) > 1
        fields: dict[str, Any] = {"panel": title, "hue": hues.labels[hue], "line": number}
        fields["kind"] = "" if crowded else "band" if band else "bar"
        right, left = (0.0, 0.0) if scale.joined else hues.offsets(hue)
        for value, cell in cells.items():
            x = scale.at(value)
            rows.add_mean(
                cell,
                measured,
                parts_of(cell, hidden),
                seeds_at=None if crowded else x + left,
                interval=not crowded,
                x=x + right,
                at=value_name(view.x, value),
                **fields,
            )


def _networks(runs: pd.DataFrame, main: str | None, cost: str) -> Iterator[pd.DataFrame]:
    """Divide runs into networks, or lines of networks that differ in the axis `main` alone."""
    axes = [axis for axis in design_axes(runs) if axis != main]
    for _, line in runs.groupby(axes, dropna=False):
        networks = [part for _, part in line.groupby(main, dropna=False)] if main else [line]
        yield from [line] if line[cost].nunique() == len(networks) else networks


def _on_lines(
    done: pd.DataFrame,
    view: View,
    main: str | None,
    crowded: bool,
    lines: list[tuple[str, pd.DataFrame]],
) -> list[str]:
    """Return a cost chart's notes on its lines and points."""
    joined = not crowded and any(line[view.x].nunique() > 1 for _, line in lines)
    shown = (*view.shown, *([main] if main and joined else []))
    notes = differ([axis for axis in varying(done) if axis not in shown])
    if crowded:
        what = "Points are means over seeds; there are too many to join or to give intervals."
        return [what, *notes]
    if main and joined:
        joins = ", ".join(value_name(main, value) for value in values(done, main))
        return [f"Lines join {lower_name(main)} {joins}.", *notes]
    return notes
