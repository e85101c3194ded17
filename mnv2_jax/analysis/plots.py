"""The report's figures, drawn without pyplot and its global state.

Where a band is drawn, the values of one seed are averaged first, as in `mnv2_jax.analysis.stats`.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from mnv2_jax.analysis import stats
from mnv2_jax.analysis.forest import forest
from mnv2_jax.analysis.style import (
    INK,
    PROJECTION_LOOKS,
    PROJECTIONS,
    SHORTCUT_DASHES,
    SHORTCUTS,
    STYLE,
    in_order,
    looks,
    nothing_to_draw,
)


def make_figures(
    frame: pd.DataFrame, curves: pd.DataFrame, claims: Sequence[Mapping[str, Any]]
) -> dict[str, Figure]:
    """Draws every figure of the report; one that has nothing to show says so.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      curves: one row per run and epoch, as `records.read_curves` returns it.
      claims: decided claims, as `verdicts.decide` returns them.

    Returns:
      Figures by file name without suffix. Only runs that are done are drawn.
    """
    done = frame[(frame["status"] == "done") & np.isfinite(frame["test_accuracy"])]
    with matplotlib.rc_context(STYLE):
        return {
            "accuracy_over_expansion": _accuracy(done, "expansion"),
            "paired_differences": forest(frame, claims),
            "accuracy_over_madds": _accuracy(done, "madds"),
            "learning_curves": _learning_curves(done, curves),
        }


def svg_text(figure: Figure, name: str) -> str:
    """Writes `figure` as SVG with text kept as text, the same bytes for the same content.

    Args:
      figure: made by `make_figures`.
      name: keeps the identifiers of two figures on one page apart.
    """
    buffer = io.BytesIO()
    # Ticks are made while drawing and read the style then.
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    return buffer.getvalue().decode()


def _accuracy(done: pd.DataFrame, x: Literal["expansion", "madds"]) -> Figure:
    """Test accuracy over expansion (section 3.3) or over multiply-adds, a panel per shortcut.

    Lines are projections; where runs differ in their block, lines are blocks and projections
    divide the panels as well.
    """
    if done.empty:
        return nothing_to_draw("No finished run to draw.")
    by_block = done["block"].nunique() > 1
    projections = in_order(done["projection"], PROJECTIONS)
    panels = [
        (shortcut, projection)
        for shortcut in in_order(done["shortcut"], SHORTCUTS)
        for projection in (projections if by_block else [""])
    ]
    figure = Figure(figsize=(max(5.2, 3.9 * len(panels)), 3.9), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    hue, looks_of = ("block", looks(done["block"])) if by_block else ("projection", _looks(done))
    for axis, (shortcut, projection) in zip(axes, panels, strict=True):
        in_panel = done[done["shortcut"] == shortcut]
        if projection:
            in_panel = in_panel[in_panel["projection"] == projection]
        for value in (name for name in looks_of if name in set(in_panel[hue])):
            runs = in_panel[in_panel[hue] == value]
            per_seed = 100 * runs.groupby([x, "seed"])["test_accuracy"].mean()
            _mean_and_band(axis, per_seed, PROJECTIONS.get(value, value), looks_of[value])
        title = SHORTCUTS.get(shortcut, shortcut)
        several = by_block and len(projections) > 1
        axis.set_title(f"{title}, {PROJECTIONS.get(projection, projection)}" if several else title)
        if x == "expansion":
            ticks = sorted(done["expansion"].unique())
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.set_xlabel("Expansion t")
        else:
            _madds_axis(axis, done)
    axes[0].set_ylabel("Test accuracy (%)")
    _legend(figure, axes, hue.title())
    return figure


def _looks(done: pd.DataFrame) -> dict[str, dict[str, Any]]:
    unknown = {"color": INK, "marker": "D", "linestyle": "-."}
    present = in_order(done["projection"], PROJECTIONS)
    return {projection: PROJECTION_LOOKS.get(projection, unknown) for projection in present}


def _mean_and_band(axis: Axes, per_seed: pd.Series, label: str, look: Mapping[str, Any]) -> None:
    """Draws points, their means and a 95 % t band from values indexed by (x, seed)."""
    at = per_seed.index.get_level_values(0)
    axis.scatter(
        at, per_seed, s=14, color=look["color"], marker=look["marker"], alpha=0.5, linewidths=0
    )
    intervals = per_seed.groupby(level=0).agg(lambda v: stats.t_interval(v.to_numpy(), 0.95))
    x = intervals.index.to_numpy()
    axis.plot(x, [i.estimate for i in intervals], label=label, markeredgecolor="white", **look)
    low, high = [i.low for i in intervals], [i.high for i in intervals]
    axis.fill_between(x, low, high, color=look["color"], alpha=0.14, linewidth=0)


def _madds_axis(axis: Axes, done: pd.DataFrame) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("Multiply-adds per image")
    costs = done.groupby("madds")["expansion"].unique()
    # With a width or data set swept too, expansions mix along the axis and naming them misleads.
    if len(costs) == done["expansion"].nunique() and (costs.str.len() == 1).all():
        for madds, (expansion,) in costs.items():
            axis.annotate(
                f"{expansion:g}" if madds != costs.index[0] else f"t = {expansion:g}",
                xy=(madds, 1),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=8,
                color="#666666",
            )
        axis.set_title(axis.get_title(loc="left"), pad=18)


def _learning_curves(done: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Validation accuracy over epochs, one line per block, projection and shortcut."""
    by_block = done["block"].nunique() > 1
    factors = ["block", "projection", "shortcut"]
    rows = curves.merge(done[["run_id", *factors]], on="run_id")
    means = 100 * rows.groupby([*factors, "epoch"])["validation_accuracy"].mean()
    means = means.dropna()
    if means.empty:
        return nothing_to_draw("No learning curve of a finished run to draw.")
    figure = Figure(figsize=(7.8, 4.1), layout="constrained")
    axis = figure.subplots()
    lines = means.groupby(level=factors)
    block_looks, projection_looks = looks(done["block"]), _looks(done)
    every_line = itertools.product(
        block_looks, projection_looks, in_order(done["shortcut"], SHORTCUTS)
    )
    for block, projection, shortcut in every_line:
        if (block, projection, shortcut) not in lines.groups:
            continue
        line = means.loc[block, projection, shortcut]
        look = block_looks[block] if by_block else projection_looks[projection]
        axis.plot(
            line.index,
            line,
            color=look["color"],
            marker=look["marker"],
            linestyle=SHORTCUT_DASHES.get(shortcut, "-."),
            markevery=max(1, len(line) // 8),
            markeredgecolor="white",
            label=(f"{block}, " if by_block else "")
            + f"{PROJECTIONS.get(projection, projection)}, "
            + SHORTCUTS.get(shortcut, shortcut).lower(),
        )
    axis.set_xlabel("Epoch")
    axis.set_ylabel("Validation accuracy (%)")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="lower right", handlelength=3.2)
    return figure


def _legend(figure: Figure, axes: Sequence[Axes], title: str) -> None:
    entries = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside upper left",
        ncols=min(len(entries), 3),
        title=title,
        alignment="left",
        handlelength=3.2,
    )
