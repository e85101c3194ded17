"""The Pareto front: networks that no other beats in both cost and a measure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis.axes import varying
from mnv2_jax.analysis.charts.chart import INK
from mnv2_jax.analysis.charts.hues import FRONT
from mnv2_jax.analysis.charts.lines import Rows
from mnv2_jax.analysis.charts.panels import HEIGHT, NARROW, layer
from mnv2_jax.analysis.names import full_name
from mnv2_jax.analysis.tables import design_axes
from mnv2_jax.schema import Column

_MOST = 20  # Names in the note, at most.
_LONGEST = 24  # Letters of a name; members with longer names are numbered.
_LETTER, _LINE = 5.6, 15  # Pixels: the width of a letter of a label, and the height of a label.


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Return the indices of points that no other beats, by rising cost; equal points are all in.

    A point beats another that costs no less and scores no more, if it is better in one of the two.
    """
    front: list[int] = []
    best = -np.inf, -np.inf
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
        point = costs[index], scores[index]
        if point[1] > best[1] or point == best:
            front.append(index)
            best = point
    return front


def put_front(
    rows: Rows,
    runs: pd.DataFrame,
    cost: str,
    measure: Column,
    panels: Sequence[tuple[str, pd.DataFrame]],
    x: dict[str, Any],
    ends: Sequence[float],
) -> str:
    """Add the front of the networks' means to all panels, and name its members.

    Args:
      rows: to add to.
      runs: of one data set, all done.
      cost: the column on x.
      measure: the column on y.
      panels: with the runs in each; a member is named in its own.
      x: its channel; its domain is extended for the first name.
      ends: of y.

    Returns:
      A note of the chart.
    """
    design, metric = design_axes(runs), measure.name
    networks = runs.groupby([cost, *design], as_index=False, dropna=False)[metric].mean()
    networks["y"] = measure.scale * networks[metric]
    scores = networks["y"] * (1 if measure.better == "higher" else -1)
    members = networks.iloc[pareto_front(networks[cost].tolist(), scores.tolist())]
    differing = [axis for axis in varying(runs) if members[axis].nunique() > 1]
    shared = [axis for axis in varying(runs) if differing and axis not in differing]
    firsts = [(axis, members[axis].iloc[0]) for axis in shared]
    common = [_uncapitalised(full_name(axis, first)) for axis, first in firsts if pd.notna(first)]
    equal = members.groupby([cost, "y"])["y"].transform("size") - 1
    members = members.assign(equal=equal).drop_duplicates([cost, "y"])
    names = _names(members, differing or varying(runs))
    points = list(zip(members[cost], members["y"], strict=True))
    named = _fit(points, names, x, ends)
    labels = names if named else [str(number) for number in range(1, len(names) + 1)]
    number = rows.set_of(runs.index)
    for title, in_panel in panels:
        if not in_panel.index.isin(runs.index).any():
            continue
        for at, y in [*points, (runs[cost].max(), points[-1][1])]:
            rows.add("front", panel=title, x=at, y=y, hue=FRONT, set=number)
        keys = set(_keys(in_panel[design]))
        for (at, y), label, key in zip(points, labels, _keys(members[design]), strict=True):
            if key in keys:
                rows.add("member", panel=title, x=at, y=y, text=label, set=number)
    is_accuracy = metric.endswith("accuracy")
    means = "mean accuracies" if is_accuracy else f"means of {_uncapitalised(measure.label)}"
    note = f"Pareto front of {means}" + (f" ({', '.join(common)})" if common else "")
    if named:
        return f"{note}."
    listed = [f"{label}: {name}" for label, name in zip(labels, names[:_MOST], strict=False)]
    listed += [f"and {len(names) - _MOST} more"] if len(names) > _MOST else []
    space = "\N{NO-BREAK SPACE}"
    return f"{note}: {'; '.join(listed).replace(' = ', f'{space}={space}')}."


def _fit(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    x: dict[str, Any],
    ends: Sequence[float],
) -> bool:
    """Make room for names on the axis; return False if one is long, or overlaps the one before."""
    low, high = x["scale"]["domain"]
    pixel, line = np.log(high / low) / NARROW, _LINE * (ends[1] - ends[0]) / HEIGHT
    lefts = [
        np.log(at) - pixel * (_LETTER * len(name) + 12)
        for (at, _), name in zip(points, names, strict=True)
    ]
    apart = [
        left >= np.log(before[0]) or abs(point[1] - before[1]) >= line
        for left, point, before in zip(lefts[1:], points[1:], points, strict=False)
    ]
    if not all(apart) or max(map(len, names)) > _LONGEST:
        return False
    x["scale"]["domain"] = [min(low, float(np.exp(lefts[0]))), high]
    return True


def with_room(ends: Sequence[float], measure: Column) -> list[float]:
    """Return the ends of y with room for the labels of a front."""
    low, high = ends
    room = 0.1 * (high - low)
    return [low, high + room] if measure.better == "higher" else [low - room, high]


def front_layers(
    layers: Sequence[dict[str, Any]], measure: Column, ends: list[float]
) -> list[dict[str, Any]]:
    """Return layers with those of fronts added, and move `ends` to make room for their labels."""
    up = measure.better == "higher"
    channels = layers[-1]["encoding"]
    ends[:] = with_room(ends, measure)
    at = {"x": channels["x"], "y": channels["y"]}
    step = {"type": "line", "interpolate": "step-after", "strokeWidth": 1}
    ring = {"type": "point", "size": 130, "color": INK, "strokeWidth": 1, "opacity": 1}
    words = {"type": "text", "fontSize": 11, "align": "right", "dx": -6, "color": INK}
    words |= {"baseline": "bottom", "dy": -5} if up else {"baseline": "top", "dy": 5}
    return [
        *layers[:-2],
        layer("front", step, **at, color=channels["color"]),
        *layers[-2:],
        layer("member", ring, **at),
        layer("member", words, **at, text={"field": "text"}),
    ]


def _keys(runs: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return the values of each run, NaN as None, which is equal to itself."""
    return list(runs.astype(object).where(runs.notna(), None).itertuples(index=False, name=None))


def _names(members: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """Return the names of members by these axes, with the number of others equal to each."""
    names = [
        ", ".join(
            f"t = {value:g}" if axis == "expansion" else _uncapitalised(full_name(axis, value))
            for axis, value in zip(axes, row, strict=True)
            if pd.notna(value)
        )
        for row in members[list(axes)].itertuples(index=False, name=None)
    ]
    return [
        f"{name} (and {equal} equal)" if equal else name
        for name, equal in zip(names, members["equal"], strict=True)
    ]


def _uncapitalised(name: str) -> str:
    """Return a name with a small first letter, unless it is one like ReLU6."""
    return name if any(map(str.isupper, name[1:])) else name[:1].lower() + name[1:]
