"""The paper's Figure 6 beside learning curves of the same variants."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

import pandas as pd

from mnv2_jax import schema
from mnv2_jax.analysis.axes import PHASE, finished, remarks
from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.analysis.charts.curves import METRIC, curve_layers, curve_table, put_curve
from mnv2_jax.analysis.charts.hues import Hues
from mnv2_jax.analysis.charts.lines import Rows
from mnv2_jax.analysis.charts.panels import HEIGHT
from mnv2_jax.analysis.stats import restricted

_COMPARISONS = {
    "6a": ("projection", ("linear", "relu6"), {"shortcut": "bottleneck"}),
    "6b": ("shortcut", ("bottleneck", "none", "expansion"), {"projection": "linear"}),
}
"""The compared values of each panel of Figure 6, and what its curves have in common."""

_LIKE_THE_PAPER = {"block": "inverted_residual", "expansion": 6.0, "width": 1.0}
"""Values of the paper, which restrict runs that differ in these columns."""


def published_curves() -> pd.DataFrame:
    """Return the curves of Figure 6: projection, shortcut, steps_millions and top1_percent."""
    file = resources.files("mnv2_jax.analysis.charts") / "data" / "fig6.csv"
    with file.open(encoding="utf-8") as text:
        return pd.read_csv(text, comment="#", keep_default_na=False)


def paper_figure_6(frame: pd.DataFrame, curves: pd.DataFrame) -> Chart | None:
    """Chart the paper's curves on the left, ours on the right, a row per comparison.

    Returns None if the runs make no comparison of Figure 6.
    """
    if PHASE in frame:
        return None  # The paper's networks began with random weights, and saw all images.
    ours, table = _comparable(finished(frame, METRIC)), curve_table(curves)
    ours = ours[ours["run_id"].isin(table.index)]
    groups = {name: _compared(ours, name) for name in _COMPARISONS}
    groups = {name: group for name, group in groups.items() if not group.empty}
    if not groups:
        return None
    views: list[dict[str, Any]] = []
    every = Rows()
    for name, group in groups.items():
        axis, wanted, where = _COMPARISONS[name]
        hues = Hues(axis, wanted)
        published, own = Rows(), Rows()
        own.sets = every.sets
        _put_published(published, axis, where, hues)
        # The paper's curves begin late too; the beginning would flatten the end.
        since = table.loc[group["run_id"]].dropna(axis="columns", how="all").columns.max() / 4
        for value, runs in group.groupby(axis):
            put_curve(own, runs, table, since=since, hue=hues.labels[value])
        heights = [one.limits(schema.column(METRIC)) for one in (published, own)]
        steps = "Training steps (millions)"
        sides = {
            f"The paper, Figure {name}": (
                published,
                curve_layers(published, hues, steps, "Top-1 (%)", heights[0]),
            ),
            _ours(group): (own, curve_layers(own, hues, ends=heights[1])),
        }
        for title, (rows, layers) in sides.items():
            view = str(len(views))
            every.rows += [row | {"view": view} for row in rows.rows]
            chosen = {"filter": f"datum.view === '{view}'"}
            size = {"width": 330, "height": HEIGHT}
            views.append({"title": title, "transform": [chosen], "layer": layers, **size})
    used = ours.loc[pd.concat(groups.values()).index.unique()]
    spec = {
        "data": {"name": "rows"},
        "concat": views,
        "columns": 2,
        "resolve": {"scale": dict.fromkeys(("color", "shape", "strokeDash"), "independent")},
        "config": {"legend": {"columns": 1}},
        "usermeta": {"room": 64, "entry": 250, "grow": True},
    }
    notes = [
        "The paper's curves: ImageNet, one run each, cut off below 65.3 %.",
        "Ours: mean and 95 % t band over seeds, without the first quarter of training.",
        *remarks(used, ("projection", "shortcut")),
    ]
    return Chart("Beside the paper's Figure 6", spec, every.rows, every.sets, notes)


def _comparable(done: pd.DataFrame) -> pd.DataFrame:
    """Return runs of one data set, restricted to the paper's values where there are such runs."""
    done = done[done["dataset"] == done["dataset"].min()]
    for column, value in _LIKE_THE_PAPER.items():
        if (done[column] == value).any():
            done = done[done[column] == value]
    return done


def _compared(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the runs that a panel of Figure 6 compares; none if they have only one value."""
    axis, wanted, where = _COMPARISONS[name]
    rows = restricted(rows, where)
    rows = rows[rows[axis].isin(wanted)]
    return rows if rows[axis].nunique() > 1 else rows.head(0)


def _put_published(rows: Rows, axis: str, where: Mapping[str, str], hues: Hues) -> None:
    """Add the paper's curves, which do not depend on the runs that are chosen."""
    theirs = restricted(published_curves(), where)
    for value, curve in theirs[theirs[axis].isin(hues.values)].groupby(axis):
        step = max(1, len(curve) // 8)
        points = zip(curve["steps_millions"], curve["top1_percent"], strict=True)
        for place, (x, y) in enumerate(points):
            own = {"x": x, "y": y, "kind": "band", "marked": place % step == 0}
            rows.add("mean", hue=hues.labels[value], **own)


def _ours(rows: pd.DataFrame) -> str:
    expansions = rows["expansion"].unique()
    at = f", t = {expansions[0]:g}" if len(expansions) == 1 else ""
    counts = rows.groupby(["projection", "shortcut"])["seed"].nunique()
    seeds = " to ".join(map(str, sorted({counts.min(), counts.max()})))
    return f"Ours, {rows['dataset'].iloc[0]}{at}, {seeds} seed{'' if seeds == '1' else 's'}"
