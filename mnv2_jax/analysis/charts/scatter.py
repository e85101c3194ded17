"""A measure over another one: every run is a point, and the rank correlation stands below."""

from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis.associations import FEW_SEEDS, associations, written
from mnv2_jax.analysis.axes import View, differ, finished, to_draw, unfinished, values, varying
from mnv2_jax.analysis.charts.chart import PAGE, Chart
from mnv2_jax.analysis.charts.hues import Hues
from mnv2_jax.analysis.charts.lines import Rows, wrapped, y_channel
from mnv2_jax.analysis.charts.panels import divide_panels, layer, panelled
from mnv2_jax.analysis.charts.scales import round_ticks
from mnv2_jax.analysis.means import Interval
from mnv2_jax.analysis.tables import describe
from mnv2_jax.schema import Column

_LOGARITHMIC = 10  # The largest value by the smallest, above which x is logarithmic.


def scatter(frame: pd.DataFrame, view: View, metric: str) -> Chart | None:
    """Chart a measure over the measure that is the view's x; None if no run has both."""
    x, y = describe(frame, view.x), describe(frame, metric)
    done = frame[frame["status"] == "done"]
    every = finished(frame, metric)
    measured = every[np.isfinite(every[view.x])]
    drawn, left_out = to_draw(measured, view.shown)
    if drawn.empty:
        return None
    hues = Hues(view.hue, values(drawn, view.hue) if view.hue else [])
    panels = divide_panels(drawn, view.panels)
    rows = Rows()
    for title, runs in panels:
        for run, one in runs.iterrows():
            rows.add(
                "point",
                panel=title,
                hue=hues.labels[one[view.hue] if view.hue else None],
                x=x.scale * one[view.x],
                y=y.scale * one[metric],
                seed=one["seed"],
                set=rows.set_of([int(str(run))]),
            )
    titles, ends = [title for title, _ in panels], rows.limits(y)
    own = [rows.limits(y, panel=title) for title in titles]
    points = _points(_x_channel(x, x.scale * drawn[view.x]), y, hues, rows)
    spec = panelled([points], titles, hues, ends, ends, own)
    notes = [
        *_correlation(frame.loc[drawn.index], view.x, metric),
        *differ([axis for axis in varying(drawn) if axis not in view.shown]),
        *left_out,
        *unfinished(frame, done),
        *_unmeasured(done, measured),
    ]
    heading = f"{y.label} over {x.label.lower()}"
    return Chart(heading, spec, rows.rows, rows.sets, notes)


def _points(x: dict[str, Any], y: Column, hues: Hues, rows: Rows) -> dict[str, Any]:
    looks = hues.encoding()
    mark = {"type": "point", "filled": True, "size": 36, "opacity": 0.8}
    mark |= {"stroke": PAGE, "strokeWidth": 0.5, "tooltip": {"content": "data"}}
    below = any(row["y"] < 0 for row in rows.rows)
    channels = {"x": x, "y": y_channel(y.title, below=below)}
    return layer("point", mark, **channels, color=looks["color"], shape=looks["shape"])


def _x_channel(column: Column, numbers: pd.Series) -> dict[str, Any]:
    low, high = float(numbers.min()), float(numbers.max())
    is_logarithmic = low > 0 and high > _LOGARITHMIC * low
    scale = {"type": "log"} if is_logarithmic else {"type": "linear", "zero": False}
    ticks = {"values": round_ticks(low, high)} if is_logarithmic else {"tickCount": 6}
    return {
        "field": "x",
        "type": "quantitative",
        "title": wrapped(column.title),
        "scale": scale | {"domain": [low, high], "nice": False, "padding": 14},
        "axis": ticks | {"format": ".6~g", "labelOverlap": "greedy"},
    }


def _correlation(frame: pd.DataFrame, x: str, y: str) -> list[str]:
    """Return the notes on the rank correlation; none if all runs have the same."""
    notes = []
    for one in associations(frame, [x], y):
        note = f"Spearman's rank correlation: {_text(one.rank_correlation)} over {one.runs:,} runs"
        if not np.isnan(one.within.estimate):
            note += (
                f", {_text(one.within)} of ranks within cells, whose runs differ in the seed alone"
            )
        notes.append(f"{note}.")
        if one.seeds > 1:
            few = "; with so few they are too narrow" if one.seeds < FEW_SEEDS else ""
            notes.append(f"Brackets are 95 % intervals that resample {one.seeds} seeds{few}.")
    return notes


def _text(one: Interval) -> str:
    ends = "" if np.isnan(one.low) else f" [{written(one.low)}, {written(one.high)}]"
    return written(one.estimate) + ends


def _unmeasured(done: pd.DataFrame, measured: pd.DataFrame) -> list[str]:
    missing = len(done) - len(measured)
    return (
        [f"{missing} of {len(done)} finished runs lack a measure and are left out."]
        if missing
        else []
    )
