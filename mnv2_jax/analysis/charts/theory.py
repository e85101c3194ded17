"""The paper's Figures 1 and 7 from simulations, and the errors of Figure 1 over dimensions.

Unlike those of the other modules these charts are not of runs.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis import figure_7
from mnv2_jax.analysis.charts.chart import INK, PAGE, Chart
from mnv2_jax.analysis.charts.hues import COLOURS, DASHES, SHAPES, STEPS
from mnv2_jax.analysis.charts.panels import HEIGHT, WIDE, layer

_SIDE = 170  # Pixels of a panel of Figure 1.


def spiral_chart(panels: Mapping[str, np.ndarray]) -> Chart:
    """Chart curves in panels of their own scale.

    Args:
      panels: points in the order of the curve, `[points, 2]`, by the panel's title.
    """
    rows = []
    for title, points in panels.items():
        for number, (x, y) in enumerate(points.tolist()):
            # A part of the curve ends where the next one begins.
            near = (max(number - 1, 0), number)
            for part in sorted({one * len(STEPS) // len(points) for one in near}):
                rows.append({"panel": title, "number": number, "part": part, "x": x, "y": y})
    color = {
        "field": "part",
        "type": "nominal",
        "scale": {"domain": list(range(len(STEPS))), "range": STEPS},
        "legend": None,
    }
    hidden = {"type": "quantitative", "axis": None, "scale": {"zero": False, "nice": False}}
    views = [
        {
            "title": title,
            "width": _SIDE,
            "height": _SIDE,
            "transform": [{"filter": f"datum.panel === '{title}'"}],
            "mark": {"type": "line", "strokeWidth": 1.5},
            "encoding": {
                "x": {"field": "x", **hidden},
                "y": {"field": "y", **hidden},
                "order": {"field": "number", "type": "quantitative"},
                "color": color,
            },
        }
        for title in panels
    ]
    notes = [
        "A spiral after a random matrix T, ReLU and the pseudoinverse of T; one draw for each "
        "dimension of T's output.",
        "Colour follows the curve from the centre. Each panel has its own scale.",
    ]
    spec = {
        "data": {"name": "rows"},
        "concat": views,
        "columns": 3,
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
    }
    return Chart("Figure 1: ReLU in n dimensions", spec, rows, notes=notes)


def errors_chart(errors: Sequence[Mapping[str, Any]]) -> Chart:
    """Chart the errors of `mnv2_jax.analysis.theory.spiral_errors` over dimensions."""
    names = list(dict.fromkeys(row["reconstruction"].capitalize() for row in errors))
    rows = [
        {
            "part": "mean",
            "hue": row["reconstruction"].capitalize(),
            "x": row["dimension"],
            "y": row["median"],
            "low": row["low"],
            "high": row["high"],
        }
        for row in errors
    ]
    dimensions = sorted({row["x"] for row in rows})
    x = {
        "field": "x",
        "type": "quantitative",
        "title": "Dimensions n",
        "scale": {"type": "log", "domain": [dimensions[0], dimensions[-1]], "padding": 8},
        "axis": {"values": dimensions, "grid": False},
    }
    y = _y("Relative RMS error", [0, 1.6])
    notes = [
        f"Lines: medians of {errors[0]['samples']:,} random T. Bands: 5 to 95 % of them, cut off "
        "at the top.",
        "As it is: the error goes to 1/2, since ReLU passes half of a symmetric signal. Best "
        "scale: each reconstruction times the factor that fits best.",
    ]
    layers = _lines(x, y, names, "Reconstruction")
    return Chart("Error of Figure 1 over dimensions", _single(layers), rows, notes=notes)


def positive_chart(
    table: pd.DataFrame, title: str, threshold: float, notes: Sequence[str]
) -> Chart:
    """Chart positive fractions over blocks, with the paper's of a trained network beside them.

    Args:
      table: as `mnv2_jax.analysis.figure_7.over_seeds` returns it, of one kind of moments.
      title: of the chart.
      threshold: the fraction that stands for as many channels as before the expansion.
      notes: sentences.
    """
    trained = {"minimum": figure_7.TRAINED["minimum"]}
    return _positive(table, title, threshold, notes, {}, trained)


def initial_chart(table: pd.DataFrame, title: str, threshold: float, notes: Sequence[str]) -> Chart:
    """Chart positive fractions at random weights, with the paper's ranges; see `positive_chart`."""
    return _positive(table, title, threshold, notes, figure_7.INITIAL, {})


def _positive(
    table: pd.DataFrame,
    title: str,
    threshold: float,
    notes: Sequence[str],
    ranges: Mapping[str, tuple[float, float]],
    published: Mapping[str, Sequence[float]],
) -> Chart:
    """Return the chart of Figure 7 with the paper's ranges, as areas, or its values, as a line."""
    labels = {"average": "Average, ours", "minimum": "Minimum, ours"}
    rows: list[dict[str, Any]] = []
    for _, block in table.iterrows():
        for name, label in labels.items():
            ends = {"low": 100 * block[f"{name}_low"], "high": 100 * block[f"{name}_high"]}
            at = {"x": int(block["expanding_block"]), "y": 100 * block[name]}
            rows.append({"part": "mean", "hue": label, **at, **ends})
    last = max([len(table), *map(len, published.values())])
    for name, values in published.items():
        labels[f"paper's {name}"] = label = f"{name.capitalize()}, the paper's"
        rows += [
            {"part": "mean", "hue": label, "x": number, "y": 100 * value}
            for number, value in enumerate(values, start=1)
        ]
    for name, (low, high) in ranges.items():
        ends = {"low": 100 * low, "high": 100 * high}
        rows.append({"part": "range", "hue": labels[name], "x": 0.5, "x2": last + 0.5, **ends})
    rows.append({"part": "threshold", "y": 100 * threshold, "x": 0.6})
    x = {
        "field": "x",
        "type": "quantitative",
        "title": "Expanding block",
        "scale": {"domain": [0.5, last + 0.5], "nice": False, "zero": False},
        "axis": {"values": list(range(1, last + 1)), "grid": False, "format": "d"},
    }
    highest = max(max(row["y"], row.get("high", 0)) for row in rows if "y" in row)
    y = _y("Positive channels of a pixel (%)", [0, 10 * math.ceil(max(highest, 55) / 10)])
    lines = _lines(x, y, list(labels.values()), None)
    color = lines[0]["encoding"]["color"]
    between = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
    area = layer(
        "range", {"type": "rect", "opacity": 0.18}, x=x, x2={"field": "x2"}, color=color, **between
    )
    rule = {"type": "rule", "strokeDash": [4, 4], "color": INK}
    text = {"type": "text", "align": "left", "baseline": "top", "dy": 5, "fontSize": 11}
    word = {"value": f"1/t = {100 * threshold:.1f} %"}
    bound = [
        layer("threshold", rule, y=y),
        layer("threshold", text | {"color": INK}, x=x, y=y, text=word),
    ]
    return Chart(title, _single([area, *bound, *lines]), rows, notes=list(notes))


def _single(layers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"data": {"name": "rows"}, "width": WIDE + 60, "height": HEIGHT + 30, "layer": layers}


def _y(title: str, ends: Sequence[float]) -> dict[str, Any]:
    scale = {"domain": list(ends), "nice": False}
    return {"field": "y", "type": "quantitative", "title": title, "scale": scale}


def _lines(
    x: dict[str, Any], y: dict[str, Any], names: Sequence[str], legend: str | None
) -> list[dict[str, Any]]:
    """Return layers of bands, lines and markers of rows whose `hue` is one of `names`."""
    looks: dict[str, Any] = {}
    for channel, values in (("color", COLOURS), ("shape", SHAPES), ("strokeDash", DASHES)):
        scale = {
            "domain": list(names),
            "range": list(itertools.islice(values, len(names))),
        }
        shown = {"title": legend, "symbolOpacity": 1, "symbolStrokeWidth": 0}
        looks[channel] = {"field": "hue", "type": "nominal", "scale": scale, "legend": shown}
    color, shape, dash = looks["color"], looks["shape"], looks["strokeDash"]
    between = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
    band = "datum.part === 'mean' && isValid(datum.low)"
    mark = {"type": "point", "filled": True, "size": 55, "opacity": 1, "stroke": PAGE}
    return [
        layer(band, {"type": "area", "opacity": 0.15, "clip": True}, x=x, color=color, **between),
        layer("mean", {"type": "line", "strokeWidth": 2}, x=x, y=y, color=color, strokeDash=dash),
        layer("mean", mark | {"strokeWidth": 1}, x=x, y=y, color=color, shape=shape),
    ]
