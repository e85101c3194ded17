"""A measure over any axis: every seed a point, means, and 95 % t intervals over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnv2_jax.analysis import stats
from mnv2_jax.analysis.figures.axes import View, finished, remarks, to_draw, unfinished, values
from mnv2_jax.analysis.figures.panels import legend, make_panels, name_axes, note
from mnv2_jax.analysis.figures.scales import Scale, put_on, scale_of
from mnv2_jax.analysis.figures.style import (
    BLOCK_LOOKS,
    axis_name,
    looks,
    nothing_to_draw,
    value_name,
)
from mnv2_jax.analysis.records import describe
from mnv2_jax.schema import Column

PLAIN: Mapping[str, Any] = BLOCK_LOOKS[0]
"""The look where there is no hue."""


def accuracy(frame: pd.DataFrame, view: View, metric: str = "test_accuracy") -> Figure:
    """Draws a metric over an axis; a note says what is averaged over.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      view: what to show; `axes.column` finds its columns.
      metric: a measure.
    """
    measure = describe(frame, metric)
    every = finished(frame, metric)
    done, left_out = to_draw(every, view.shown)
    if done.empty:
        return nothing_to_draw("No finished run to draw.")
    scale = scale_of(done, view.x)
    hues = values(done, view.hue) if view.hue else []
    look_of = looks(view.hue or "", hues)
    crowded = 0.35 * len(scale.values) * max(len(hues), 1) if scale.kind == "places" else 0
    figure, panels = make_panels(done, view.panels, (min(max(4.0, crowded), 9.0), 3.5))
    drawn = []
    for axis, runs in panels:
        put_on(axis, scale)
        for place, hue in enumerate(hues):
            of_hue = seed_values(runs[runs[view.hue] == hue], view.x, measure)
            label = value_name(view.hue or "", hue)
            draw(axis, of_hue, scale, look_of[hue], label, side_by_side(place, len(hues)))
            drawn.append(of_hue)
        if not hues:
            drawn.append(seed_values(runs, view.x, measure))
            draw(axis, drawn[-1], scale, PLAIN)
    axes = [axis for axis, _ in panels]
    fit(axes[0], drawn, measure)
    name_axes(axes, axis_name(view.x), measure.title)
    legend(figure, axes, axis_name(view.hue) if view.hue else "")
    said = [*intervals(drawn, scale), *remarks(done, view.shown), *left_out]
    note(figure, [*said, *unfinished(frame, every)])
    return figure


def intervals(drawn: Sequence[pd.Series], scale: Scale) -> list[str]:
    """What a figure has to say of the bands and bars that `draw` made of these.

    Args:
      drawn: values by (x, seed), as `seed_values` gives them.
      scale: of x.
    """
    several = [one for one in drawn if one.groupby(level=0).size().max() > 1]
    bands = {_joined(one.index.get_level_values(0), scale) for one in several}
    kinds = {(True,): "Bands", (False,): "Bars", (False, True): "Bands and bars"}
    return [f"{kinds[tuple(sorted(bands))]} are 95 % t intervals over seeds."] if bands else []


def seed_values(runs: pd.DataFrame, x: str, measure: Column) -> pd.Series:
    """A measure, in its unit, by x and seed: other axes are averaged within a seed."""
    return measure.scale * runs.groupby([x, "seed"])[measure.name].mean()


def draw(
    axis: Axes,
    per_seed: pd.Series,
    scale: Scale,
    look: Mapping[str, Any],
    label: str = "",
    offset: tuple[float, float] = (0, -0.12),
) -> None:
    """Draws seeds as points, their means, and intervals: a band, or bars where no line joins.

    Args:
      axis: the panel.
      per_seed: values by (x, seed), as `seed_values` gives them.
      scale: of x.
      look: colour, marker and dashes.
      label: for the legend; none without.
      offset: to the right, of means and of points; names leave room for it, numbers take none.
    """
    if per_seed.empty:
        return
    color, marker = look["color"], look["marker"]
    means = per_seed.groupby(level=0).agg(lambda v: stats.t_interval(v.to_numpy(), 0.95))
    # A line runs from place to place, which for numbers with a name is not by size.
    means = means.loc[sorted(means.index, key=scale.at)]
    x = np.array([scale.at(value) for value in means.index.tolist()])
    middle, low, high = (
        np.array([getattr(interval, key) for interval in means], float)
        for key in ("estimate", "low", "high")
    )
    points = np.array([scale.at(value) for value in per_seed.index.get_level_values(0).tolist()])
    if not scale.joined:
        x, points = x + offset[0], points + offset[1]
    joined = _joined(means.index, scale)
    axis.scatter(points, per_seed, s=14, color=color, marker=marker, alpha=0.45, linewidths=0)
    if joined:
        axis.fill_between(x, low, high, color=color, alpha=0.14, linewidth=0)
    else:
        axis.vlines(x, low, high, color=color, linewidth=1.4)
    axis.plot(
        x,
        middle,
        color=color,
        marker=marker,
        linestyle=look["linestyle"] if joined else "none",
        markersize=5 if joined else 7,
        markeredgecolor="white",
        label=label or "_",
        zorder=3,
    )


def _joined(places: pd.Index, scale: Scale) -> bool:
    return scale.joined and places.nunique() > 1


def draw_means(
    axis: Axes, per_seed: pd.Series, scale: Scale, look: Mapping[str, Any], label: str
) -> None:
    """Draws means alone; the arguments are those of `draw`."""
    means = per_seed.groupby(level=0).mean()
    axis.plot(
        [scale.at(value) for value in means.index.tolist()],
        means.to_numpy(),
        color=look["color"],
        marker=look["marker"],
        linestyle="none",
        markersize=4,
        alpha=0.6,
        markeredgewidth=0,
        label=label or "_",
    )


def fit(axis: Axes, drawn: Sequence[pd.Series], measure: Column) -> None:
    """Sets the height by the points: a wide interval of two seeds would flatten all else.

    Nothing is shown below 0 of what is never negative, nor above 100 %. A tenth of the room stays
    beyond, so that points there are whole.
    """
    points = np.concatenate(drawn)
    low, high = float(points.min()), float(points.max())
    # Differences in the last digit that is shown are not made to fill the figure.
    room = max(high - low, 10 * 10.0**-measure.digits) / 2
    bottom, top = axis.get_ylim()
    least = -0.1 * room if low >= 0 else -np.inf
    most = 100 + 0.1 * room if measure.unit == "%" else np.inf
    axis.set_ylim(max(bottom, low - room, least), min(top, high + room, most))


def side_by_side(place: int, count: int) -> tuple[float, float]:
    """The offsets of one of several hues: points stand left of their mean, hiding no bar."""
    step = min(0.8 / count, 0.26)
    middle = (place - (count - 1) / 2) * step
    return middle + 0.2 * step, middle - 0.25 * step
