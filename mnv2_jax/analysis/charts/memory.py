"""Peak memory and time of a network over the pieces that its blocks are computed in."""

from collections.abc import Mapping, Sequence
from typing import Any

from mnv2_jax.analysis.charts.chart import INK, Chart
from mnv2_jax.analysis.charts.hues import COLOURS, SHAPES
from mnv2_jax.analysis.charts.panels import HEIGHT, NARROW, layer

ORDERS = {"temporary_bytes": "compiler's default", "reordered_bytes": "for least memory"}
"""The orders of operations that a compiler may choose, by the column of their peak."""


def memory_chart(rows: Sequence[Mapping[str, Any]], target: float, limit: float) -> Chart:
    """Chart peak and time of a whole network over its cuts.

    Args:
      rows: of each cut, the uncut network first: `cut`, `temporary_bytes`, `reordered_bytes` or
        None, and `time`, relative to the first's.
      target: the share of the uncut network's peak that a rule marks.
      limit: the time that a rule marks.
    """
    peak = rows[0]["temporary_bytes"]
    points: list[dict[str, Any]] = [
        {"part": "peak", "cut": row["cut"], "hue": label, "y": row[column] / 1e3}
        for column, label in ORDERS.items()
        for row in rows
        if row[column] is not None
    ]
    points += [{"part": "time", "cut": row["cut"], "y": row["time"]} for row in rows]
    points += [{"part": "target", "y": target * peak / 1e3}, {"part": "limit", "y": limit}]
    x = {
        "field": "cut",
        "type": "nominal",
        "sort": [row["cut"] for row in rows],
        "title": "Pieces",
        "axis": {"labelAngle": -35, "grid": False},
    }
    labels = list(dict.fromkeys(one["hue"] for one in points if "hue" in one))
    looks = {
        channel: {
            "field": "hue",
            "type": "nominal",
            "scale": {"domain": labels, "range": values[: len(labels)]},
            "legend": {"title": "Order of operations"},
        }
        for channel, values in (("color", COLOURS), ("shape", SHAPES))
    }
    dot = {"type": "point", "filled": True, "size": 70, "opacity": 1}
    rule = {"type": "rule", "strokeDash": [4, 4], "color": INK}

    def panel(layers: list[dict[str, Any]]) -> dict[str, Any]:
        return {"width": NARROW, "height": HEIGHT, "layer": layers}

    memory, time = _y("Peak of temporary memory (kB)"), _y("Time, relative to whole")
    spec = {
        "data": {"name": "rows"},
        "concat": [
            panel([layer("target", rule, y=memory), layer("peak", dot, x=x, y=memory, **looks)]),
            panel([layer("limit", rule, y=time), layer("time", dot, x=x, y=time)]),
        ],
        "columns": 2,
    }
    notes = [
        f"One image, float32; weights are not counted, copies of them are. Dashed: "
        f"{100 * target:.0f} % of the whole network's peak in the default order, and {limit:g} "
        f"times its time.",
        "Times are medians of turns in the default order.",
    ]
    return Chart("Memory and time in pieces", spec, points, notes=notes)


def _y(title: str) -> dict[str, Any]:
    return {"field": "y", "type": "quantitative", "title": title, "scale": {"zero": True}}
