"""The forest plot: differences and their intervals, one below the other."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnv2_jax.analysis import stats, units
from mnv2_jax.analysis.claims import Claim, shown
from mnv2_jax.analysis.figures.axes import main_number, values
from mnv2_jax.analysis.figures.style import INK, full_name, nothing_to_draw
from mnv2_jax.analysis.records import design_axes


@dataclass(frozen=True)
class _Estimate:
    """A row of the forest plot, in the unit that is shown; NaN where there is no interval."""

    label: str
    value: float
    low: float
    high: float
    note: str = ""
    band: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Group:
    """Estimates that are drawn together, below a title."""

    title: str
    estimates: Sequence[_Estimate]


def forest(
    frame: pd.DataFrame, claims: Sequence[Claim], decided: Sequence[Mapping[str, Any]]
) -> Figure:
    """What the claims come to, and their differences along the main axis, if they have such.

    Claims in different units have axes of their own, one unit after the other.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      claims: of any kind.
      decided: the same, as `verdicts.decide` returns them.
    """
    by_unit: dict[str, list[tuple[Claim, Mapping[str, Any]]]] = {}
    for claim, row in zip(claims, decided, strict=True):
        by_unit.setdefault(units.measure_of_row(row).unit, []).append((claim, row))
    parts = {
        units.of_differences([units.measure_of_row(row) for _, row in pairs]): groups
        for pairs in by_unit.values()
        if (groups := _groups(frame, pairs))
    }
    if not parts:
        return nothing_to_draw("No claim that a pair of finished runs speaks of.")
    every = [group for groups in parts.values() for group in groups]
    heights = [len(group.estimates) + 0.6 for group in every]
    labels = 0.55 * (len(parts) - 1)  # inches, of axes within the figure
    size = (7.8, 0.9 + 0.27 * sum(heights) + 0.35 * len(every) + labels)
    figure = Figure(figsize=size, layout="constrained")
    places = iter(figure.add_gridspec(len(every), 1, height_ratios=heights))
    for label, groups in parts.items():
        first: Axes | None = None
        for group in groups:
            axis = figure.add_subplot(next(places), sharex=first)
            _forest_panel(axis, group)
            first = first or axis
            if group is not groups[-1]:
                axis.tick_params(axis="x", length=0, labelbottom=False)
                axis.spines["bottom"].set_visible(False)
        axis.set_xlabel(label)
    return figure


def _groups(frame: pd.DataFrame, claims: Sequence[tuple[Claim, Mapping[str, Any]]]) -> list[_Group]:
    """The panels of claims in one unit."""
    measured = [_claimed(row) for _, row in claims if row["estimate"] is not None]
    along = [
        _Group(textwrap.fill(claim.statement, 76), _along(claim, frame)) for claim, _ in claims
    ]
    return [group for group in (_Group("Claims", measured), *along) if group.estimates]


def _along(claim: Claim, frame: pd.DataFrame) -> list[_Estimate]:
    """The claim's difference at each value of the main axis, if its pairs differ in one."""
    runs = claim.runs(frame)
    found = claim.differences(runs)
    if found is None:
        return []
    pairs = found.dropna(subset="difference")
    same = [axis for axis in design_axes(frame) if axis not in pairs or pairs[axis].nunique() < 2]
    main = main_number(frame, but=same)
    if main is None:
        return []
    estimates = []
    for value in values(pairs, main):
        means = stats.seed_means(pairs[pairs[main] == value])
        interval = stats.t_interval(runs.measure.factor * means, claim.confidence)
        label = full_name(main, value)
        estimates.append(_Estimate(label, interval.estimate, interval.low, interval.high))
    return estimates


def _claimed(row: Mapping[str, Any]) -> _Estimate:
    factor, band = units.measure_of_row(row).factor, shown(row)["band"]
    low, high = (np.nan if row[key] is None else factor * row[key] for key in ("ci_low", "ci_high"))
    ends = (factor * band[0], factor * band[1]) if band else None
    # Axes shrink to make room for labels; the claims table has the name in full.
    name = textwrap.shorten(row["name"], 40, placeholder=" …")
    return _Estimate(name, factor * row["estimate"], low, high, row["verdict"], ends)


def _forest_panel(axis: Axes, group: _Group) -> None:
    estimates = group.estimates
    rows = range(len(estimates))
    axis.set_title(group.title)
    axis.axvline(0, color="#888888", linewidth=1)
    for y, estimate in zip(rows, estimates, strict=True):
        if estimate.band:
            low, high = estimate.band
            axis.barh(y, high - low, 0.7, low, color="#d9e6ee")
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
