"""The panels of a chart, one for each combination of values of some axes."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mnv2_jax.analysis.axes import values
from mnv2_jax.analysis.charts.hues import Hues
from mnv2_jax.analysis.names import full_name

NARROW, WIDE, HEIGHT = 290, 430, 250
"""Pixels: the widths of a panel beside others and of a single one, and the height of both."""

GIVEN_ENDS = {"domainMin": {"expr": "low"}, "domainMax": {"expr": "high"}}
"""The ends of a scale, as the parameters of a specification by `panelled`."""


def divide_panels(frame: pd.DataFrame, by: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """Return title and runs of each panel, in order; a single one without columns `by`."""
    groups: list[tuple[list[str], pd.DataFrame]] = [([], frame)]
    for axis in by:
        groups = [
            ([*names, full_name(axis, value)], part[part[axis] == value])
            for names, part in groups
            for value in values(part, axis)
        ]
    return [("\n".join(textwrap.wrap(", ".join(names), 42)), part) for names, part in groups]


def panelled(
    layers: Sequence[Mapping[str, Any]],
    titles: Sequence[str],
    hues: Hues,
    ends: Sequence[float],
    with_parts: Sequence[float],
    own: Sequence[Sequence[float]],
    width: int = WIDE,
) -> dict[str, Any]:
    """Return the specification of layers in panels, whose rows name their panel.

    Args:
      layers: of each panel.
      titles: of the panels, in order.
      hues: of the lines.
      ends: of y.
      with_parts: ends of y for a page whose reader has chosen some of the runs.
      own: ends of y of each panel, for a page whose reader has asked for them.
      width: of a single panel.
    """
    columns = beside(len(titles))
    width = NARROW if columns > 1 else width
    return {
        **facets({"width": width, "height": HEIGHT, "layer": list(layers)}, titles),
        "config": {"legend": hues.legend(columns * width)},
        "params": [{"name": "low", "value": ends[0]}, {"name": "high", "value": ends[1]}],
        "usermeta": {
            "room": 64,
            "entry": hues.entry,
            "grow": True,
            "ends": [ends, with_parts],
            "y": {"own": own},
        },
    }


def beside(count: int) -> int:
    """Return how many of these panels stand beside one another."""
    return 2 if count in (2, 4) else min(count, 3)


def facets(panel: dict[str, Any], titles: Sequence[str]) -> dict[str, Any]:
    """Return the specification of a panel for each title; rows name the title as their `panel`."""
    header = {"labelExpr": r"split(datum.label, '\n')"}
    facet = {"field": "panel", "type": "nominal", "sort": list(titles), "header": header}
    columns = beside(len(titles))
    inner = panel if titles == [""] else {"facet": facet, "columns": columns, "spec": panel}
    return {"data": {"name": "rows"}, **inner}


def layer(part: str, mark: Mapping[str, Any], **channels: Any) -> dict[str, Any]:
    """Return a layer for the rows of a part, such as `mean`, or of a condition on `datum`."""
    condition = part if "datum" in part else f"datum.part === '{part}'"
    return {"transform": [{"filter": condition}], "mark": dict(mark), "encoding": channels}
