"""The Pareto front: the networks that no other beats in both cost and a measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis.axes import varying
from mnv2_jax.analysis.charts.panels import HEIGHT, NARROW
from mnv2_jax.analysis.names import full_name
from mnv2_jax.analysis.records import design_axes
from mnv2_jax.schema import Column

_LETTERS, _LONGEST = 64, 24
"""Members of a front whose names are longer, all or one, are numbered, and named in the note."""

_MOST = 20
"""Names in the note, at most."""

_LETTER, _LINE = 5.6, 13
"""Pixels that a letter of a label is wide, and a label high."""


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


@dataclass(frozen=True)
class Front:
    """The Pareto front of the networks of one data set, in the unit that is shown.

    Attributes:
      runs: of these networks.
      steps: x and y of the corners, by rising cost.
      members: x, y, label and the axes of each network in it; equal ones once.
      metric: on y.
      common: the names of values that all members share.
      listed: the names of members, for the note.
      numbered: whether labels are numbers, which the note explains.
    """

    runs: pd.DataFrame
    steps: Sequence[tuple[float, float]]
    members: pd.DataFrame
    metric: Column
    common: Sequence[str]
    listed: Sequence[str]
    numbered: bool

    def in_panel(self, runs: pd.DataFrame) -> list[tuple[float, float, str]]:
        """Return cost, mean and label of the members that are among `runs`, by rising cost."""
        design = design_axes(self.runs)
        here = set(_keys(runs[design]))
        own = [key in here for key in _keys(self.members[design])]
        columns = self.members.loc[own, ["x", "y", "label"]]
        return list(columns.itertuples(index=False, name=None))

    def note(self, *, unnamed: bool) -> str:
        """Return what is said below the chart: all names too, where labels do not say them."""
        label, metric = self.metric.label, self.metric.name
        what = "mean accuracies" if metric.endswith("accuracy") else f"means of {_in_a_row(label)}"
        said = f" ({', '.join(self.common)})" if self.common else ""
        more = len(self.listed) - _MOST
        listed = "; ".join(self.listed[:_MOST]) + (f"; and {more} more" if more > 0 else "")
        listed = listed.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
        return f"Pareto front of {what}{said}{f': {listed}' if self.numbered or unnamed else ''}."


def front_of(runs: pd.DataFrame, cost: str, measure: Column) -> Front:
    """Find the front of the networks' means.

    Args:
      runs: of one data set, all done.
      cost: the column on x.
      measure: the column on y.
    """
    design, metric = design_axes(runs), measure.name
    networks = runs.groupby([cost, *design], as_index=False, dropna=False)[metric].mean()
    networks["x"], networks["y"] = networks[cost], measure.scale * networks[metric]
    scores = networks["y"] * (1 if measure.better == "higher" else -1)
    members = networks.iloc[pareto_front(networks["x"].tolist(), scores.tolist())]
    told = [axis for axis in varying(runs) if members[axis].nunique() > 1]
    shared = [axis for axis in varying(runs) if told and axis not in told]
    firsts = [(axis, members[axis].iloc[0]) for axis in shared]
    common = [_in_a_row(full_name(axis, first)) for axis, first in firsts if pd.notna(first)]
    equal = members.groupby(["x", "y"])["y"].transform("size") - 1
    members = members.assign(equal=equal).drop_duplicates(["x", "y"])
    names = _names(members, told or varying(runs))
    numbered = sum(map(len, names)) > _LETTERS or max(map(len, names)) > _LONGEST
    numbers = [str(number) for number in range(1, len(names) + 1)]
    listed = [f"{number}: {name}" for number, name in zip(numbers, names, strict=True)]
    corners = [*members["x"], runs[cost].max()], [*members["y"], members["y"].iloc[-1]]
    return Front(
        runs=runs,
        steps=list(zip(*corners, strict=True)),
        members=members.assign(label=numbers if numbered else names),
        metric=measure,
        common=common,
        listed=listed if numbered else names,
        numbered=numbered,
    )


def without_overlaps(
    members: Sequence[tuple[float, float, str]],
    x: tuple[float, float],
    y: tuple[float, float],
    up: int,
) -> list[tuple[float, float, str]]:
    """Return the members whose label, to the left, does not run into that of a better one.

    Args:
      members: cost, mean and label, by rising cost.
      x: the ends of the logarithmic axis.
      y: the ends of the other.
      up: 1 where labels stand above their points, -1 below.
    """
    pixel = np.log10(x[1] / x[0]) / NARROW
    line = _LINE * (y[1] - y[0]) / HEIGHT
    named: list[tuple[float, float, str]] = []
    for at, value, label in reversed(members):
        # Of the names so far, the one nearest in both directions is the last.
        if named:
            next_at, next_value, next_label = named[-1]
            left = np.log10(next_at) - pixel * label_width(next_label)
            if np.log10(at) > left and up * (next_value - value) < line:
                continue
        named.append((at, value, label))
    return named[::-1]


def label_width(label: str) -> float:
    """The pixels that a label takes to the left of its point."""
    return _LETTER * len(label) + 12


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
