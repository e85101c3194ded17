"""The paper's Figure 6 beside learning curves of the same variants."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnv2_jax import schema
from mnv2_jax.analysis.figures.axes import PHASE, finished, remarks
from mnv2_jax.analysis.figures.curves import METRIC, draw_curve, with_axes
from mnv2_jax.analysis.figures.panels import note
from mnv2_jax.analysis.figures.style import looks, value_name

_COMPARISONS = {
    "6a": ("projection", {"linear", "relu6"}, {"shortcut": "bottleneck"}),
    "6b": ("shortcut", {"bottleneck", "expansion", "none"}, {"projection": "linear"}),
}
"""For each panel of Figure 6 what it compares, and what its curves have in common."""

_LIKE_THE_PAPER = {"block": "inverted_residual", "expansion": 6.0, "width": 1.0}
"""Where runs differ in these, those are taken that are as in the paper."""


def published_curves() -> pd.DataFrame:
    """The curves of Figure 6: projection, shortcut, steps_millions and top1_percent."""
    file = resources.files("mnv2_jax.analysis.figures") / "data" / "fig6.csv"
    with file.open(encoding="utf-8") as text:
        return pd.read_csv(text, comment="#", keep_default_na=False)


def paper_figure_6(frame: pd.DataFrame, curves: pd.DataFrame) -> Figure | None:
    """Draws the paper's curves on the left, ours on the right, a row per comparison.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      curves: one row per run and epoch, as `records.read_curves` returns it.

    Returns:
      None if the runs compare nothing that Figure 6 does.
    """
    if PHASE in frame:
        return None  # The paper's networks began with random weights, and saw all images.
    ours = _comparable(finished(frame, METRIC))
    rows = with_axes(curves, ours)
    groups = {name: _compared(rows, name) for name in _COMPARISONS}
    groups = {name: group for name, group in groups.items() if not group.empty}
    if not groups:
        return None
    figure = Figure(figsize=(10.0, 0.5 + 3.1 * len(groups)), layout="constrained")
    grid = figure.subplots(len(groups), 3, squeeze=False, width_ratios=(1, 1, 0.62))
    published = published_curves()
    for (left, right, key), (name, group) in zip(grid, groups.items(), strict=True):
        axis, wanted, where = _COMPARISONS[name]
        theirs = _where(published, where)
        shown = [value for value in looks_of(axis) if value in wanted]
        _published(left, theirs, axis, shown)
        left.set_title(f"The paper, Figure {name}")
        # From where the paper's curves are seen too: the beginning would flatten the end.
        late = group[group["epoch"] >= group["epoch"].max() / 4]
        for value in shown:
            draw_curve(right, late[late[axis] == value], looks_of(axis)[value])
        right.set_title(_ours(group))
        right.set(xlabel="Epoch", ylabel=schema.column(METRIC).title)
        handles = left.get_legend_handles_labels()
        key.legend(*handles, loc="upper left", handlelength=3.2, borderaxespad=0)
        key.set_axis_off()
    used = pd.concat(groups.values())
    used = ours[ours["run_id"].isin(used["run_id"])]
    note(
        figure,
        [
            "The paper's curves: ImageNet, one run each, cut off below 65.3 %.",
            "Ours: mean and 95 % t band over seeds, without the first quarter of training.",
            *remarks(used, ("projection", "shortcut")),
        ],
    )
    return figure


def looks_of(axis: str) -> dict[str, dict[str, Any]]:
    """The looks of the variants of Figure 6; the one in both panels has the same in both."""
    known = {"projection": ["linear", "relu6"], "shortcut": ["bottleneck", "none", "expansion"]}
    return looks(axis, known[axis])


def _comparable(done: pd.DataFrame) -> pd.DataFrame:
    """Runs of one data set, as like the paper's as there are."""
    done = done[done["dataset"] == done["dataset"].min()]
    for column, value in _LIKE_THE_PAPER.items():
        if (done[column] == value).any():
            done = done[done[column] == value]
    return done


def _compared(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The curves that a panel of Figure 6 compares; none if there is only one kind."""
    axis, wanted, where = _COMPARISONS[name]
    rows = _where(rows, where)
    rows = rows[rows[axis].isin(wanted)]
    return rows if rows[axis].nunique() > 1 else rows.head(0)


def _where(rows: pd.DataFrame, where: dict[str, str]) -> pd.DataFrame:
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def _published(axis: Axes, theirs: pd.DataFrame, column: str, shown: Sequence[str]) -> None:
    for value in shown:
        curve = theirs[theirs[column] == value]
        axis.plot(
            curve["steps_millions"],
            curve["top1_percent"],
            markevery=max(1, len(curve) // 8),
            markeredgecolor="white",
            label=value_name(column, value),
            **looks_of(column)[value] | {"linewidth": 1.2},
        )
    axis.set(xlabel="Training steps (millions)", ylabel="Top-1 (%)")


def _ours(rows: pd.DataFrame) -> str:
    expansions = rows["expansion"].unique()
    at = f", t = {expansions[0]:g}" if len(expansions) == 1 else ""
    seeds = rows["seed"].nunique()
    return f"Ours, {rows['dataset'].iloc[0]}{at}, {seeds} seed{'' if seeds == 1 else 's'}"
