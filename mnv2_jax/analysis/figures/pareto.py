"""The Pareto front: the networks that no other beats in both cost and a measure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mnv2_jax.analysis.figures.axes import varying
from mnv2_jax.analysis.figures.style import INK, full_name
from mnv2_jax.analysis.records import design_axes
from mnv2_jax.schema import Column

_LETTERS, _LONGEST = 64, 24
"""Members of a front whose names are longer, all or one, are numbered, and named in the note."""

_MOST = 20
"""Names in the note, at most."""

_WIDE, _HIGH = 3.2, 2.5
"""Inches of a panel, by which labels are placed: nearly, since the layout comes later."""

_LETTER, _LINE = 0.068, 0.15
"""Inches that a letter of a label is wide, and a label high."""


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The points that no other beats: as cheap and as good, and better in one of the two.

    Args:
      costs: one per point, less is better.
      scores: one per point, more is better.

    Returns:
      Their indices, by rising cost. Of equal points all are in.
    """
    front: list[int] = []
    best = -np.inf, -np.inf
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
        point = costs[index], scores[index]
        if point[1] > best[1] or point == best:
            front.append(index)
            best = point
    return front


def draw_front(
    runs: pd.DataFrame, cost: str, measure: Column, panels: Sequence[tuple[Axes, pd.DataFrame]]
) -> list[str]:
    """Draws the front of the networks' means into all panels, and names its members.

    Args:
      runs: of one data set, all done.
      cost: the column on x.
      measure: the column on y.
      panels: with the runs in each; a member is named in its own.

    Returns:
      What the note below the figure has to say.
    """
    design, metric = design_axes(runs), measure.name
    networks = runs.groupby([cost, *design], as_index=False, dropna=False)[metric].mean()
    networks[metric] *= measure.scale
    scores = networks[metric] * (1 if measure.better == "higher" else -1)
    members = networks.iloc[pareto_front(networks[cost].tolist(), scores.tolist())]
    told = [axis for axis in varying(runs) if members[axis].nunique() > 1]
    shared = [axis for axis in varying(runs) if told and axis not in told]
    firsts = [(axis, members[axis].iloc[0]) for axis in shared]
    common = [_in_a_row(full_name(axis, first)) for axis, first in firsts if pd.notna(first)]
    equal = members.groupby([cost, metric])[metric].transform("size") - 1
    members = members.assign(equal=equal).drop_duplicates([cost, metric])
    names = _names(members, told or varying(runs))
    numbered = sum(map(len, names)) > _LETTERS or max(map(len, names)) > _LONGEST
    labels = [str(number) for number in range(1, len(names) + 1)] if numbered else names
    unnamed = False
    steps = [*members[cost], runs[cost].max()], [*members[metric], members[metric].iloc[-1]]
    for axis, in_panel in panels:
        axis.step(*steps, where="post", color=INK, linewidth=1, zorder=2, label="Pareto front")
        here = set(_keys(in_panel[design]))
        own = [key in here for key in _keys(members[design])]
        points = zip(members[cost], members[metric], labels, own, strict=True)
        own_points = [(x, y, label) for x, y, label, mine in points if mine]
        unnamed |= _mark(axis, own_points, measure) < len(own_points)
    said = f" ({', '.join(common)})" if common else ""
    listed = "; ".join(
        f"{label}: {name}" if numbered else name
        for label, name in zip(labels, names[:_MOST], strict=False)
    )
    listed = listed.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    listed += f"; and {len(names) - _MOST} more" if len(names) > _MOST else ""
    what = (
        "mean accuracies" if metric.endswith("accuracy") else f"means of {_in_a_row(measure.label)}"
    )
    return [f"Pareto front of {what}{said}{f': {listed}' if numbered or unnamed else ''}."]


def _keys(runs: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The values of each run; NaN, which is not equal to itself, as None."""
    return list(runs.astype(object).where(runs.notna(), None).itertuples(index=False, name=None))


def _names(members: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """What tells members apart, and how many equal ones each stands for."""
    names = [
        ", ".join(
            f"t = {value:g}" if axis == "expansion" else _in_a_row(full_name(axis, value))
            for axis, value in zip(axes, row, strict=True)
            if pd.notna(value)
        )
        for row in members[list(axes)].itertuples(index=False, name=None)
    ]
    return [
        f"{name} (and {equal} equal)" if equal else name
        for name, equal in zip(names, members["equal"], strict=True)
    ]


def _in_a_row(name: str) -> str:
    """Begins a name small, unless it is one like ReLU6."""
    return name if any(map(str.isupper, name[1:])) else name[:1].lower() + name[1:]


def _mark(axis: Axes, points: Sequence[tuple[float, float, str]], measure: Column) -> int:
    """Rings members, by rising x, and names them where a front leaves room.

    That is to their upper left, or to the lower one where less is better.

    Returns:
      How many have a name: one that would run into that of a better member is left out.
    """
    if not points:
        return 0
    x, y, _ = zip(*points, strict=True)
    axis.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor=INK, label="_")
    low, high = np.log10(axis.get_xlim())
    bottom, top = axis.get_ylim()
    inch, line = (high - low) / _WIDE, _LINE * (top - bottom) / _HIGH
    up = 1 if measure.better == "higher" else -1
    named: list[tuple[float, float, float, str]] = []
    for at, value, label in reversed(points):
        left = np.log10(at) - inch * (_LETTER * len(label) + 0.15)
        # Of the names so far, the one nearest in both directions is the last.
        if not named or np.log10(at) <= named[-1][0] or up * (named[-1][2] - value) >= line:
            named.append((left, at, value, label))
    for left, at, value, label in reversed(named):
        axis.annotate(
            label,
            (at, value),
            xytext=(-5, 5 * up),
            textcoords="offset points",
            ha="right",
            va="bottom" if up > 0 else "top",
            fontsize=8,
        )
        low = min(low, left)
        room = (top - bottom) * 0.1 + line
        bottom, top = (
            (bottom, max(top, value + room)) if up > 0 else (min(bottom, value - room), top)
        )
    axis.set_xlim(left=10**low)
    axis.set_ylim(bottom, top)
    # Names may stand where no value can.
    most = min(top, 100) if measure.unit == "%" else top
    least = max(bottom, 0) if all(value >= 0 for value in y) else bottom
    axis.set_yticks([tick for tick in axis.get_yticks() if least <= tick <= most])
    return len(named)
