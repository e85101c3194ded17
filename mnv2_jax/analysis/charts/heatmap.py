"""Means of a measure, a cell for each two values of two axes."""

import json
from typing import Any

import pandas as pd

from mnv2_jax.analysis.axes import View, averaged, finished, remarks, to_draw, unfinished, values
from mnv2_jax.analysis.charts.chart import PAGE, Chart, is_whole
from mnv2_jax.analysis.charts.hues import STEPS
from mnv2_jax.analysis.charts.lines import Rows, divide, parts_of
from mnv2_jax.analysis.charts.panels import divide_panels, facets, layer
from mnv2_jax.analysis.charts.scales import fitted
from mnv2_jax.analysis.names import axis_name, lower_name, value_name
from mnv2_jax.analysis.tables import describe

_ROW = 34  # Pixels: the height of a cell.
_PALE = ("var(--on-low)", "var(--on-high)")


def heatmap(frame: pd.DataFrame, view: View, metric: str = "test_accuracy") -> Chart | None:
    """Chart means over seeds by the axes `x` and `hue`; None without these or without a run."""
    every = finished(frame, metric)
    done, left_out = to_draw(every, view.shown)
    if done.empty or view.hue is None:
        return None
    measure, hidden, rows = describe(frame, metric), averaged(done, view.shown), Rows(frame)
    panels = divide_panels(done, view.panels)
    for title, runs in panels:
        for down, line in divide(runs, view.hue).items():
            for across, cell in divide(line, view.x).items():
                rows.add_mean(
                    cell,
                    (measure.scale * cell[metric]).to_dict(),
                    parts_of(cell, hidden),
                    interval=False,
                    panel=title,
                    across=value_name(view.x, across),
                    down=value_name(view.hue, down),
                )
    means = [row["y"] for row in rows.rows if is_whole(row, rows.sets)]
    low, high = min(means), max(means)
    for row in rows.rows:
        step = (row["y"] - low) / (high - low or 1) * (len(STEPS) - 1)
        row["step"] = min(max(round(step), 0), len(STEPS) - 1)
        row["text"] = f"{row['y']:.{measure.digits}f}"
    lines = [value_name(view.hue, value) for value in values(done, view.hue)]
    columns = [value_name(view.x, value) for value in values(done, view.x)]
    spec = {
        "width": max(290, 34 * len(columns)),
        "height": _ROW * len(lines),
        "layer": _layers(view, columns, lines, measure.title),
    }
    titles = [title for title, _ in panels]
    room = 30 + 6.5 * max(map(len, lines))
    notes = ["Cells are means over seeds.", *rows.bands(), *remarks(done, view.shown)]
    return Chart(
        f"{measure.label} by {lower_name(view.x)} and {lower_name(view.hue)}",
        facets(spec, titles) | {"usermeta": {"room": room, "narrowest": room + 36 * len(columns)}},
        rows.rows,
        rows.sets,
        [*notes, *left_out, *unfinished(frame, every)],
    )


def _layers(view: View, columns: list[str], lines: list[str], title: str) -> list[dict[str, Any]]:
    """Return the layers of cells and their texts."""
    lines_of, slant = fitted(columns)
    labels = json.dumps(dict(zip(columns, lines_of, strict=True)))
    x = {
        "field": "across",
        "type": "nominal",
        "sort": columns,
        "title": axis_name(view.x),
        "axis": {"labelExpr": f"{labels}[datum.label]", "labelAngle": 0, **slant},
    }
    y = {
        "field": "down",
        "type": "nominal",
        "sort": lines,
        "title": None,
        "axis": {"domain": False, "labelLimit": 260},
    }
    steps = {"domain": list(range(len(STEPS))), "range": STEPS}
    color = {"field": "step", "type": "nominal", "scale": steps, "legend": None}
    dark = [_PALE[step > 2] for step in range(len(STEPS))]
    on = {"field": "step", "type": "nominal", "legend": None, "scale": steps | {"range": dark}}
    tooltip = [
        {"field": "across", "type": "nominal", "title": axis_name(view.x)},
        {"field": "down", "type": "nominal", "title": axis_name(view.hue or "")},
        {"field": "text", "type": "nominal", "title": title},
        {"field": "seeds", "title": "Seeds"},
    ]
    rect = {"type": "rect", "stroke": PAGE, "strokeWidth": 2}
    return [
        layer("mean", rect, x=x, y=y, color=color, tooltip=tooltip),
        layer("mean", {"type": "text", "fontSize": 12}, x=x, y=y, text={"field": "text"}, fill=on),
    ]
