"""The forest plot: differences and their intervals, one below the other."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnv2_jax.analysis import stats
from mnv2_jax.analysis.figures.axes import averaged, averaging, finished
from mnv2_jax.analysis.figures.panels import note
from mnv2_jax.analysis.figures.style import INK, SHORTCUTS, in_order, nothing_to_draw

_METRIC = "test_accuracy"
_ROWS = ["block", "expansion"]


@dataclass(frozen=True)
class _Estimate:
    """A row of the forest plot, in percentage points; NaN where there is no interval."""

    label: str
    value: float
    low: float
    high: float
    note: str = ""
    margin: float = 0


def forest(frame: pd.DataFrame, claims: Sequence[Mapping[str, Any]]) -> Figure:
    """Linear minus ReLU6 per expansion and shortcut (Fig. 6a), above what the claims came to."""
    groups = {
        f"Linear minus ReLU6 · {SHORTCUTS.get(shortcut, shortcut).lower()}": _differences(
            frame, shortcut
        )
        for shortcut in in_order(frame["shortcut"], SHORTCUTS)
    }
    groups["Claims"] = [_claimed(row) for row in claims if row["estimate"] is not None]
    groups = {title: estimates for title, estimates in groups.items() if estimates}
    if not groups:
        return nothing_to_draw("No pair of finished runs to compare.")
    heights = [len(estimates) + 0.6 for estimates in groups.values()]
    size = (7.8, 0.9 + 0.27 * sum(heights) + 0.35 * len(groups))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (title, estimates) in zip(axes, groups.items(), strict=True):
        _forest_panel(axis, title, estimates)
    for axis in axes[:-1]:
        axis.tick_params(axis="x", length=0)
        axis.spines["bottom"].set_visible(False)
    axes[-1].set_xlabel("Difference in accuracy (percentage points)")
    if set(groups) != {"Claims"}:
        hidden = averaged(finished(frame, _METRIC), (*_ROWS, "shortcut", "projection"))
        note(figure, averaging(hidden))
    return figure


def _differences(frame: pd.DataFrame, shortcut: str) -> list[_Estimate]:
    where = {"shortcut": shortcut}
    pairs = stats.paired_differences(frame, "projection", "linear", "relu6", where, _METRIC)
    estimates = []
    several = frame["block"].nunique() > 1
    for (block, t), group in pairs.dropna(subset="difference").groupby(_ROWS):
        interval = stats.t_interval(100 * stats.seed_means(group), 0.95)
        label = f"{block}, t = {t:g}" if several else f"t = {t:g}"
        estimates.append(_Estimate(label, interval.estimate, interval.low, interval.high))
    return estimates


def _claimed(row: Mapping[str, Any]) -> _Estimate:
    low, high = (np.nan if row[key] is None else 100 * row[key] for key in ("ci_low", "ci_high"))
    margin = 100 * row.get("margin", 0)
    # Axes shrink to make room for labels; the claims table has the name in full.
    name = textwrap.shorten(row["name"], 40, placeholder=" …")
    return _Estimate(name, 100 * row["estimate"], low, high, row["verdict"], margin)


def _forest_panel(axis: Axes, title: str, estimates: Sequence[_Estimate]) -> None:
    rows = range(len(estimates))
    axis.set_title(title)
    axis.axvline(0, color="#888888", linewidth=1)
    for y, estimate in zip(rows, estimates, strict=True):
        if estimate.margin:
            axis.barh(y, 2 * estimate.margin, 0.7, -estimate.margin, color="#d9e6ee")
        axis.plot([estimate.low, estimate.high], [y, y], color=INK, linewidth=1.6)
        axis.plot(estimate.value, y, color=INK, marker="D" if estimate.note else "o", markersize=6)
        axis.annotate(
            estimate.note,
            xy=(1.01, y),
            xycoords=("axes fraction", "data"),
            va="center",
            annotation_clip=False,
        )
    axis.set_yticks(rows, [estimate.label for estimate in estimates])
    axis.set_ylim(len(estimates) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_visible(False)
