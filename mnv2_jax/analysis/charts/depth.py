"""Measures of bottlenecks over depth: means over seeds, a panel for each measure."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mnv2_jax.analysis.axes import (
    averaged,
    curve_view,
    finished,
    remarks,
    to_draw,
    unfinished,
    values,
    varying,
)
from mnv2_jax.analysis.block_tables import BlockTable
from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.analysis.charts.curves import curve_layers
from mnv2_jax.analysis.charts.hues import Hues
from mnv2_jax.analysis.charts.lines import Rows, divide, parts_of
from mnv2_jax.analysis.charts.panels import panelled
from mnv2_jax.analysis.names import lower_name, value_name
from mnv2_jax.analysis.tables import main_metric
from mnv2_jax.schema import Column

NAME = "bottlenecks"
"""The name of the chart; it is drawn of the tables that the evaluator of that name writes."""

PANELS = {
    "active": "Active channels",
    "dead": "Dead channels",
    "positive_min": "Positive after expansion, minimum",
    "rank_before": "Effective rank before the activation",
    "rank_after": "Effective rank after the activation",
    "decodable": "Input decodable from output",
}
"""The title of each measure's panel."""

_LINE = "line"
_OF_PROJECTIONS = ("model.projection_slope", "model.projection_bias")
_MOST_LINES = 8

_OF_CHANNELS = ("active", "dead", "rank_before", "rank_after")
_SHARE = Column("share", "number", "measure", "Share", "%", 1)


def is_of_bottlenecks(table: BlockTable) -> bool:
    """Return whether a table of blocks has what the chart draws."""
    return {"channels", *PANELS} <= table.columns.keys()


def depth(frame: pd.DataFrame, name: str, table: BlockTable) -> Chart | None:
    """Chart the measures of finished runs' blocks as shares; None if there are none.

    Active and dead channels and effective ranks are shares of the bottleneck's channels.

    Args:
      frame: the runs; rows of the chart name them by their positions.
      name: of the side table that the measures stand beside.
      table: the measures.
    """
    metric = main_metric(frame)
    shares = _shares(table)
    every = finished(frame, metric)
    measured = every[every["run_id"].isin(shares["run_id"])]
    shown_axes = _lines(measured)
    drawn, left_out = to_draw(measured, shown_axes)
    if drawn.empty:
        return None
    hue, rows, hidden = next(iter(shown_axes), None), Rows(frame), averaged(drawn, shown_axes)
    if len(shown_axes) > 1:
        own = zip(*(drawn[axis] for axis in shown_axes), strict=True)
        hue, drawn = _LINE, drawn.assign(**{_LINE: [_name(shown_axes, one) for one in own]})
    hues = Hues(hue, values(drawn, hue) if hue else [], titled=hue != _LINE)
    for column, title in PANELS.items():
        by_block = shares.dropna(subset=column).groupby(["number", "name"])[["run_id", column]]
        for value, runs in divide(drawn, hue).items():
            for (number, block), found in by_block:
                numbers = found.set_index("run_id")[column]
                own = runs[runs["run_id"].isin(numbers.index)]
                if own.empty:
                    continue
                by_run = dict(zip(own.index, numbers.loc[own["run_id"]], strict=True))
                shown: dict[str, Any] = {
                    "panel": title,
                    "hue": hues.labels[value],
                    "at": f"{number}, {block}",
                }
                parts = parts_of(own, hidden)
                rows.add_mean(own, by_run, parts, x=number, marked=True, kind="band", **shown)
    if not rows.rows:
        return None
    present = {row["panel"] for row in rows.rows}
    titles = [title for title in PANELS.values() if title in present]
    spec = _spec(rows, hues, titles)
    notes = [
        f"Measured on {_images(table)} images, in inference mode.",
        "Channels and ranks are shares of the bottleneck's channels.",
        *rows.bands(),
        *remarks(drawn.drop(columns=_LINE, errors="ignore"), shown_axes),
        *left_out,
        *unfinished(frame, every),
        *_unmeasured(every, measured),
    ]
    return Chart(f"Bottlenecks over depth ({name})", spec, rows.rows, rows.sets, notes)


def _lines(measured: pd.DataFrame) -> list[str]:
    """Return the axes that lines differ in: of projections, their slope and bias as well."""
    if measured.empty or not (hue := curve_view(measured).hue):
        return []
    more = [axis for axis in _OF_PROJECTIONS if axis in varying(measured)]
    if hue != "projection" or len(measured[[hue, *more]].drop_duplicates()) > _MOST_LINES:
        return [hue]
    return [hue, *more]


def _name(axes: Sequence[str], line: Sequence[Any]) -> str:
    """Return the name of a line, such as `ReLU6, bias 3`."""
    first, *more = zip(axes, line, strict=True)
    words = (f"{lower_name(axis).removeprefix('projection ')} {value:g}" for axis, value in more)
    return ", ".join([value_name(*first), *words])


def _shares(table: BlockTable) -> pd.DataFrame:
    """Return the measures in per cent."""
    frame = table.frame
    of_channels = {name: 100 * frame[name] / frame["channels"] for name in _OF_CHANNELS}
    others = {name: 100 * frame[name] for name in PANELS if name not in _OF_CHANNELS}
    return frame.assign(**of_channels, **others)


def _spec(rows: Rows, hues: Hues, titles: list[str]) -> dict[str, Any]:
    ends = rows.limits(_SHARE), rows.limits(_SHARE, parts=True)
    own = [rows.limits(_SHARE, parts=True, panel=title) for title in titles]
    layers = curve_layers(rows, hues, "Block", _SHARE.title)
    return panelled(layers, titles, hues, *ends, own)


def _images(table: BlockTable) -> str:
    split, data = (table.about.get(name, "") for name in ("split", "data"))
    return f"{data} ({split})" if data else str(split)


def _unmeasured(every: pd.DataFrame, measured: pd.DataFrame) -> list[str]:
    missing = len(every) - len(measured)
    return [f"{missing} of {len(every)} runs were not measured."] if missing else []


def charts_of(blocks: Mapping[str, BlockTable]) -> dict[str, tuple[str, BlockTable]]:
    """Return the tables that have a chart, with their names, by the chart's name."""
    shown = [(name, table) for name, table in blocks.items() if is_of_bottlenecks(table)]
    return {
        f"{NAME}_{number}" if number > 1 else NAME: named
        for number, named in enumerate(shown, start=1)
    }
