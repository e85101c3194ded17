"""Draws what the training steps came to: beside peers, and over numbers of lanes."""

import json
import re
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks.rows import OURS, Row
from mnv2_jax.analysis.charts.chart import INK, Chart
from mnv2_jax.analysis.charts.hues import COLOURS, SHAPES
from mnv2_jax.analysis.charts.panels import layer

_LANES = re.compile(rf"{OURS}, (\d+) lanes?")


def draw(rows: Sequence[Row]) -> Chart | None:
    """Draws the rows of `experiments.benchmarks.step`, the absent ones left out.

    On the left how many times as fast ours is, at the number of lanes where it is fastest. On the
    right images per second over lanes, for the workload with the most numbers of lanes. None where
    all are absent.
    """
    present = [row for row in rows if row.value is not None]
    if not present:
        return None
    peers = sorted({row.contender for row in present if not row.contender.startswith(OURS)})
    names = [*peers, OURS]
    colours = [*COLOURS[: len(peers)], INK]
    legend = {"title": None, "symbolOpacity": 1, "symbolStrokeWidth": 0}
    hue: dict[str, Any] = {"field": "hue", "type": "nominal", "legend": legend}
    looks = {
        "color": hue | {"scale": {"domain": names, "range": colours}},
        "shape": hue | {"scale": {"domain": names, "range": SHAPES[: len(names)]}},
    }
    workloads = list(dict.fromkeys(row.benchmark for row in present))
    ratios = [
        {"part": "ratio", "hue": row.contender, "x": row.ratio, "y": workloads.index(row.benchmark)}
        for row in present
        if row.contender in peers and row.ratio is not None
    ]
    lanes: dict[str, dict[int, float | None]] = {}
    for row in present:
        if count := _LANES.fullmatch(row.contender):
            lanes.setdefault(row.benchmark, {})[int(count[1])] = row.value
    workload = max(lanes, key=lambda name: len(lanes[name]))
    rates = [
        *({"part": "lanes", "hue": OURS, "x": x, "y": y} for x, y in lanes[workload].items()),
        *(
            {"part": "peer", "hue": row.contender, "y": row.value}
            for row in present
            if row.benchmark == workload and row.contender in peers
        ),
    ]
    spec = {
        "data": {"name": "rows"},
        "concat": [
            _beside_peers(workloads, looks),
            _over_lanes(workload, sorted(lanes[workload]), looks),
        ],
        "columns": 2,
        "config": {"legend": {"orient": "bottom", "columns": 6}},
    }
    return Chart("Training steps", spec, [*ratios, *rates])


def _beside_peers(workloads: Sequence[str], looks: dict[str, Any]) -> dict[str, Any]:
    labels = json.dumps([name.split(", ", 1) for name in workloads])
    y = _axis("y", None, domain=[len(workloads) - 0.5, -0.5])
    y["axis"] = {"values": list(range(len(workloads))), "labelExpr": f"{labels}[datum.value]"}
    y["axis"]["labelOffset"] = -7  # of two lines
    x = _axis("x", "ratio of images per second", type="log", padding=14)
    x["axis"] = {"values": [first * 10.0**at for at in range(-2, 4) for first in (1, 2, 5)]}
    point = {"type": "point", "filled": True, "size": 60, "opacity": 1}
    return {
        "title": "Ours is … times as fast as",
        "width": 400,
        "height": 44 * len(workloads),
        "layer": [
            {"mark": {"type": "rule", "color": INK}, "encoding": {"x": {"datum": 1}}},
            layer("ratio", point, x=x, y=y, **looks),
        ],
    }


def _over_lanes(workload: str, counts: Sequence[int], looks: dict[str, Any]) -> dict[str, Any]:
    x = _axis("x", "networks trained together (lanes)", type="log", base=2, padding=14)
    x["axis"] = {"values": list(counts)}
    y = _axis("y", "images per second, all together", zero=True, nice=True)
    dashed = {"type": "rule", "strokeDash": [6, 3], "strokeWidth": 1.5}
    line = {"type": "line", "color": INK}
    point = {"type": "point", "filled": True, "size": 50, "opacity": 1}
    return {
        "title": workload.partition(" px")[0].rpartition(", ")[0],
        "width": 320,
        "height": 250,
        "layer": [
            layer("peer", dashed, y=y, color=looks["color"]),
            layer("lanes", line, x=x, y=y),
            layer("lanes", point, x=x, y=y, **looks),
        ],
    }


def _axis(field: str, title: str | None, **scale: Any) -> dict[str, Any]:
    given = {"nice": False, "zero": False, **scale}
    return {"field": field, "type": "quantitative", "title": title, "scale": given}
