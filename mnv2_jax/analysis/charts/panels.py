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
    width: int = WIDE,
) -> dict[str, Any]:
    """Return the specification of layers in panels, whose rows name their panel.

    Args:
      layers: of each panel.
      titles: of the panels, in order.
      hues: of the lines.
      ends: of y.
      with_parts: ends of y for a page whose reader has chosen some of the runs.
      width: of a single panel.
    """
    count = len(titles)
    columns = 2 if count in (2, 4) else min(count, 3)
    width = NARROW if columns > 1 else width
    own = {"width": width, "height": HEIGHT, "layer": list(layers)}
    header = {"labelExpr": r"split(datum.label, '\n')"}
    facet = {"field": "panel", "type": "nominal", "sort": list(titles), "header": header}
    inner = own if titles == [""] else {"facet": facet, "columns": columns, "spec": own}
    return {
        "data": {"name": "rows"},
        **inner,
        "config": {"legend": hues.legend(columns * width)},
        "params": [{"name": "low", "value": ends[0]}, {"name": "high", "value": ends[1]}],
        "usermeta": {"room": 64, "entry": hues.entry, "grow": True, "ends": [ends, with_parts]},
    }


def layer(part: str, mark: Mapping[str, Any], **channels: Any) -> dict[str, Any]:
    """Return a layer for the rows of a part, such as `mean`, or of a condition on `datum`."""
    condition = part if "datum" in part else f"datum.part === '{part}'"
    return {"transform": [{"filter": condition}], "mark": dict(mark), "encoding": channels}
