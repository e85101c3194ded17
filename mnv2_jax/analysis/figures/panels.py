"""What figures of several panels share: their layout, titles, legend and the note below them."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnv2_jax.analysis.figures.axes import values
from mnv2_jax.analysis.figures.style import QUIET, full_name

_BESIDE = 6
"""More entries of a legend than this stand beside the panels, not above them."""


def make_panels(
    frame: pd.DataFrame, by: Sequence[str], size: tuple[float, float] = (4.0, 3.5)
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Makes a panel for each combination of values that runs have in the columns `by`.

    Args:
      frame: the runs to draw; not empty.
      by: columns, none for a single panel.
      size: width and height of a panel, in inches.

    Returns:
      The figure, and its panels with the runs that belong into each.
    """
    groups = _divide(frame, by)
    columns = 2 if len(groups) in (2, 4) else min(len(groups), 3)
    rows = math.ceil(len(groups) / columns)
    width = max(6.0, size[0] * columns)
    figure = Figure(figsize=(width, 0.7 + size[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    cells = list(grid.flat)
    for place, (axis, (title, _)) in enumerate(zip(cells, groups, strict=False)):
        fits = len(", ".join(title)) <= width / columns * 9.5
        axis.set_title((", " if fits else ",\n").join(title))
        axis.label_outer()
        if place + columns >= len(groups):  # Nothing below it.
            axis.tick_params(labelbottom=True)
    for axis in cells[len(groups) :]:
        axis.set_visible(False)
    return figure, [(axis, runs) for axis, (_, runs) in zip(cells, groups, strict=False)]


def name_axes(panels: Sequence[Axes], x: str, y: str) -> None:
    """Labels the outer panels."""
    for axis in panels:
        spec = axis.get_subplotspec()
        if spec is None or spec.is_first_col():
            axis.set_ylabel(y)
        if axis.xaxis.get_tick_params()["labelbottom"]:
            axis.set_xlabel(x)


def legend(figure: Figure, panels: Sequence[Axes], title: str) -> None:
    """Explains every label once, in the order of first use; nothing if there is none."""
    entries: dict[str, Any] = {}
    for axis in panels:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if not entries:
        return
    beside = len(entries) > _BESIDE
    inches = 0.85 + 0.08 * max(map(len, entries))
    columns = math.ceil(len(entries) / 18)
    if beside:
        figure.set_figwidth(figure.get_figwidth() + columns * inches)
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside right upper" if beside else "outside upper left",
        ncols=columns if beside else max(1, int(figure.get_figwidth() / inches)),
        title=title,
        alignment="left",
        handlelength=3.2,
    )


def note(figure: Figure, sentences: Sequence[str]) -> None:
    """Says below the panels what the figure does not show."""
    if sentences:
        lines = textwrap.wrap(" ".join(sentences), round(figure.get_figwidth() * 16))
        figure.set_figheight(figure.get_figheight() + 0.15 * len(lines))
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8.5, color=QUIET)


def _divide(frame: pd.DataFrame, by: Sequence[str]) -> list[tuple[list[str], pd.DataFrame]]:
    groups: list[tuple[list[str], pd.DataFrame]] = [([], frame)]
    for axis in by:
        groups = [
            ([*names, full_name(axis, value)], part[part[axis] == value])
            for names, part in groups
            for value in values(part, axis)
        ]
    return groups
