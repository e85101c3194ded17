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
from mnv2_jax.analysis.claims import Claim, Greater, Interaction
from mnv2_jax.analysis.decisions import differences
from mnv2_jax.analysis.figures.axes import main_number, values
from mnv2_jax.analysis.figures.style import INK, full_name, nothing_to_draw
from mnv2_jax.analysis.records import design_axes


@dataclass(frozen=True)
class _Estimate:
    """A row of the forest plot, in percentage points; NaN where there is no interval."""

    label: str
    value: float
    low: float
    high: float
    note: str = ""
    margin: float = 0


def forest(
    frame: pd.DataFrame, claims: Sequence[Claim], decided: Sequence[Mapping[str, Any]]
) -> Figure:
    """What the claims come to, and those that compare two values along the main axis too.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      claims: made by the functions of `mnv2_jax.analysis.claims`.
      decided: the same, as `verdicts.decide` returns them.
    """
    measured = [_claimed(row) for row in decided if row["estimate"] is not None]
    groups = [("Claims", measured)] + [
        (textwrap.fill(claim.statement, 76), _along(claim, frame))
        for claim in claims
        if isinstance(claim, Greater | Interaction)
    ]
    groups = [(title, estimates) for title, estimates in groups if estimates]
    if not groups:
        return nothing_to_draw("No claim that a pair of finished runs speaks of.")
    heights = [len(estimates) + 0.6 for _, estimates in groups]
    size = (7.8, 0.9 + 0.27 * sum(heights) + 0.35 * len(groups))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (title, estimates) in zip(axes, groups, strict=True):
        _forest_panel(axis, title, estimates)
    for axis in axes[:-1]:
        axis.tick_params(axis="x", length=0)
        axis.spines["bottom"].set_visible(False)
    axes[-1].set_xlabel("Difference in accuracy (percentage points)")
    return figure


def _along(claim: Greater | Interaction, frame: pd.DataFrame) -> list[_Estimate]:
    """The claim's difference at each value of the main axis, if its pairs differ in one."""
    pairs = differences(claim, frame).dropna(subset="difference")
    same = [axis for axis in design_axes(frame) if axis not in pairs or pairs[axis].nunique() < 2]
    main = main_number(frame, but=same)
    if main is None:
        return []
    estimates = []
    for value in values(pairs, main):
        means = stats.seed_means(pairs[pairs[main] == value])
        interval = stats.t_interval(100 * means, claim.confidence)
        label = full_name(main, value)
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
