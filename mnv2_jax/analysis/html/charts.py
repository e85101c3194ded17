"""The report's charts, as Vega-Lite specifications made with Altair.

The page's script gives them their rows, so that its filters reach them: `runs`, a row per finished
run, `curves`, a row per line and epoch, and `claims`. Means and intervals are computed by Vega from
the rows that are left, by the rules of `mnv2_jax.analysis.stats`: the values of one seed are
averaged first, and the interval is over seeds.

Colours are the names of the page's own (CSS variables), so that charts follow light, dark and print
without being drawn again.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy import special

from mnv2_jax.analysis import units
from mnv2_jax.analysis.figures.style import axis_name
from mnv2_jax.analysis.html.design import Axis, Design
from mnv2_jax.schema import column

VEGA_LITE = ".".join(alt.VEGALITE_VERSION.lstrip("v").split(".")[:2])

# As many as `design` gives to colours. Markers and dashes differ too, for whom colours do not.
_COLOURS = [f"var(--hue-{number})" for number in range(7)]
_SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right"]
_DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [10, 4], [4, 2], [1, 3]]
_VERDICTS = {
    "supported": "circle",
    "refuted": "square",
    "inconclusive": "diamond",
    "ruined": "cross",
}

# Student's t for 95 % by the number of seeds, from two on; more seeds than listed take the last.
_T95 = [round(float(special.stdtrit(seeds - 1, 0.975)), 4) for seeds in range(2, 102)]

MANY = 1_500
"""Runs, from which on their points are drawn smaller, and over cost not at all."""

LINES = "x_lines"
"""The parameter that holds names along x, each as the lines that it takes."""

_FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
CONFIG: dict[str, Any] = {
    "background": None,
    "font": _FONT,
    "aria": False,  # a figure has one label; one for each of 5,000 points helps nobody
    "view": {"stroke": None},
    "axis": {
        "domainColor": "var(--axis)",
        "tickColor": "var(--axis)",
        "gridColor": "var(--rule)",
        "labelColor": "var(--quiet)",
        "titleColor": "var(--quiet)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelPadding": 5,
    },
    "axisX": {"grid": False, "tickSize": 4},
    "axisY": {"domain": False, "ticks": False, "tickCount": 6},
    "header": {
        "title": None,
        "labelColor": "var(--ink)",
        "labelFontSize": 13,
        "labelFontWeight": 600,
        "labelAnchor": "start",
        "labelPadding": 6,
    },
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": "var(--ink)",
        "labelFontSize": 13,
        "labelLimit": 260,
        "symbolSize": 70,
        "columnPadding": 22,
        "offset": 14,
    },
    "facet": {"spacing": 28},
}


def make_specs(
    design: Design,
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    claims: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Makes every chart of the report; one that has nothing to show is left out.

    Over cost there is nothing to show where all finished runs cost the same.

    Args:
      design: the axes that the runs differ in.
      frame: one row per run, as `records.read_results` returns it.
      curves: one row per run and epoch, as `records.read_curves` returns it.
      claims: decided claims, as `verdicts.decide` returns them.

    Returns:
      Vega-Lite specifications by name: `claims`, and `claims_2` and so on of further units (which
      unit says `usermeta`), `accuracy`, `cost` and `curves`. Their rows are for the page's script
      to fill in.
    """
    charts: dict[str, alt.TopLevelMixin] = {}
    by_unit: dict[str, list[Mapping[str, Any]]] = {}
    for row in claims:
        if row["estimate"] is not None:
            by_unit.setdefault(units.measure_of_row(row).unit, []).append(row)
    for number, rows in enumerate(by_unit.values(), start=1):
        charts["claims" if number == 1 else f"claims_{number}"] = _claims(rows)
    done = frame[(frame["status"] == "done") & np.isfinite(frame["test_accuracy"])]
    if len(done):
        runs = len(done)
        charts["accuracy"] = _accuracy(design, _x(design.x), runs)
        if done["madds"].nunique() > 1:
            charts["cost"] = _accuracy(design, _cost(done["madds"]), runs)
    if len(done) and len(curves):
        charts["curves"] = _curves(design, int(curves["epoch"].max()))
    specs = {name: chart.to_dict() for name, chart in charts.items()}
    for spec in specs.values():
        del spec["$schema"]  # an address, where the page is to have none
    return specs


def _accuracy(design: Design, x: alt.X, count: int) -> alt.TopLevelMixin:
    """Test accuracy of every run along x; means as lines, intervals as bands."""
    looks = _looks(design.hue)
    colour, shape, dash = ({name: looks[name]} for name in ("color", "shape", "strokeDash"))
    runs = alt.Chart().encode(x=x, **colour)
    field, kind = str(x.shorthand).split(":")
    # One axis may be both along x and in colours.
    places = dict.fromkeys((design.x, design.hue, design.panel))
    shown = [axis for axis in places if axis]
    mean = _means(runs, [field, *(axis.key for axis in shown)])
    few = count < MANY
    points = runs.mark_point(
        filled=True,
        size=20 if few else 7,
        opacity=0.5 if few else 0.3,
        # The page's script words it when it is asked for, not for every one of 5,000 points.
        tooltip=alt.TooltipContent("data"),
    ).encode(y=_y("test_accuracy"), **shape)
    told = [
        *_tooltips(shown),
        *([alt.Tooltip("madds:Q", title="MAdds", format=",")] if field == "madds" else []),
        alt.Tooltip("mean:Q", title="Mean %", format=".1f"),
        alt.Tooltip("low:Q", title="95 % from", format=".1f"),
        alt.Tooltip("high:Q", title="to", format=".1f"),
        alt.Tooltip("seeds:Q", title="Seeds"),
    ]
    ends = {"y": _y("low"), "y2": alt.Y2("high:Q")}
    middle = mean.encode(y=_y("mean"))
    dots = middle.mark_point(filled=True, size=60, opacity=1).encode(tooltip=told, **shape)
    if kind == "N":
        interval = mean.mark_rule(strokeWidth=2).encode(**ends)
        return _panels([points, interval, dots], "runs", design)
    band = mean.mark_area(opacity=0.16).encode(**ends)
    line = middle.mark_line(strokeWidth=2).encode(**dash)
    # Thousands of points are drawn once, along the axis, and not again over cost.
    shown_points = [points] if few or field == "x" else []
    return _panels([band, *shown_points, line, dots], "runs", design)


def _means(runs: alt.Chart, by: list[Any]) -> alt.Chart:
    """Means over seeds of what each seed averages, with the ends of the 95 % t interval."""
    seeds = runs.transform_aggregate(seed_mean="mean(test_accuracy)", groupby=[*by, "seed"])
    means = seeds.transform_aggregate(
        mean="mean(seed_mean)", deviation="stdev(seed_mean)", seeds="count()", groupby=by
    )
    return means.transform_calculate(
        half="t95[min(datum.seeds - 2, length(t95) - 1)] * datum.deviation / sqrt(datum.seeds)",
        # One seed gives no interval.
        low="datum.seeds > 1 ? datum.mean - datum.half : null",
        high="datum.seeds > 1 ? datum.mean + datum.half : null",
    )


def _curves(design: Design, epochs: int) -> alt.TopLevelMixin:
    """Validation accuracy over epochs: a thin line for each cell, thick ones for their means."""
    looks = _looks(design.curve_hue, lines=True)
    base = alt.Chart().encode(
        x=alt.X("epoch:Q", title="Epoch", axis=alt.Axis(values=_epoch_ticks(epochs), format="d")),
        y=alt.Y(
            "accuracy:Q", title=column("validation_accuracy").title, scale=alt.Scale(zero=False)
        ),
        detail="line:N",
        color=looks["color"],
    )
    lines = base.encode(strokeDash=looks["strokeDash"])
    cells = lines.transform_filter("datum.level === 'cell'").mark_line(strokeWidth=1, opacity=0.4)
    means = lines.transform_filter("datum.level === 'mean'").mark_line(strokeWidth=2.5)
    # Lines are too thin to be hit; points that are not seen, but hit, speak for them.
    told = base.mark_point(filled=True, size=90, opacity=0).encode(
        tooltip=[
            alt.Tooltip("name:N", title="Mean of"),
            alt.Tooltip("epoch:Q", title="Epoch"),
            alt.Tooltip("accuracy:Q", title="Validation %", format=".1f"),
            alt.Tooltip("runs:Q", title="Runs"),
        ]
    )
    return _panels([cells, means, told], "curves", design)


def _claims(rows: Sequence[Mapping[str, Any]]) -> alt.TopLevelMixin:
    """The forest of claims in one unit: differences with their intervals, and margins."""
    measures, verdicts = [*map(units.measure_of_row, rows)], {row["verdict"] for row in rows}
    base = alt.Chart().encode(y=alt.Y("position:O", axis=None, scale=alt.Scale(padding=0)))
    present = [name for name in _VERDICTS if name in verdicts]
    colours = alt.Scale(domain=present, range=[f"var(--{name})" for name in present])
    shapes = alt.Scale(domain=present, range=[_VERDICTS[name] for name in present])
    colour = alt.Color("verdict:N", scale=colours)
    told = [
        alt.Tooltip("statement:N", title="Claim"),
        alt.Tooltip("verdict:N", title="Verdict"),
        alt.Tooltip("difference:N", title="Difference"),
        alt.Tooltip("interval:N", title="Interval"),
    ]
    below: Any = {"yOffset": alt.ExprRef("height / domain('y').length / 2 - 16")}
    margin = base.mark_bar(color="var(--margin)", height=18, **below).encode(
        x=alt.X("margin_low:Q"), x2="margin_high:Q"
    )
    zero = alt.Chart().mark_rule(color="var(--axis)", strokeWidth=1).encode(x=alt.datum(0))
    interval = base.mark_rule(strokeWidth=2, **below).encode(
        x=alt.X("low:Q"), x2="high:Q", color=colour, tooltip=told
    )
    estimate = base.mark_point(filled=True, size=90, opacity=1, **below).encode(
        x=alt.X(
            "estimate:Q",
            title=units.of_differences(measures),
            scale=alt.Scale(padding=10),
            axis=alt.Axis(tickCount=alt.ExprRef("ceil(width / 90)"), labelFlush=False),
        ),
        color=colour,
        shape=alt.Shape("verdict:N", scale=shapes),
        tooltip=told,
    )
    above: Any = {"yOffset": alt.ExprRef("height / domain('y').length / 2 - 30")}
    words = base.encode(x=alt.value(0), text="lines:N")
    text: Any = {"align": "left", "baseline": "bottom", "lineHeight": 17, "fontSize": 13} | above
    text["dy"] = alt.ExprRef("-17 * (datum.lines.length - 1)")  # the last line is the lowest
    # The zero line does not run through words.
    halo = words.mark_text(**text, fill="var(--page)", stroke="var(--page)", strokeWidth=6)
    names = words.mark_text(**text, color="var(--ink)")
    return alt.layer(
        margin, zero, interval, estimate, halo, names, data=alt.NamedData("claims")
    ).properties(height=alt.Step(52), usermeta={"unit": measures[0].unit})


def _y(field: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title=column("test_accuracy").title, scale=alt.Scale(zero=False))


def _x(axis: Axis | None) -> alt.X:
    """The axis that the page's script writes into the field `x`."""
    if axis is None:
        return alt.X("x:N", title=None, axis=alt.Axis(labels=False, ticks=False))
    title = axis.label if axis.label == axis.name else axis_name(axis.name)
    if not axis.numeric:
        # The page's script knows how wide a panel is, and so where a name has to be wrapped.
        wrapped: Any = alt.Axis(labelAngle=0, labelExpr=f"{LINES}[datum.label] || datum.label")
        return alt.X("x:N", title=title, sort=list(axis.labels), axis=wrapped)
    numbers = [value for value in axis.values if value == value]
    wide = min(numbers) > 0 and max(numbers) / min(numbers) >= 20
    ticks: Any = numbers if len(numbers) <= 12 else alt.Undefined
    scale = alt.Scale(type="log" if wide else "linear", nice=False, zero=False, padding=12)
    return alt.X("x:Q", title=title, scale=scale, axis=alt.Axis(values=ticks, format=".6~g"))


def _cost(madds: pd.Series) -> alt.X:
    low, high = float(madds.min()), float(madds.max())
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [first * 10**decade for decade in decades for first in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    return alt.X(
        "madds:Q",
        title="Multiply-adds per image",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(values=ticks if len(ticks) > 1 else sorted({low, high}), format=".3~s"),
    )


def _epoch_ticks(epochs: int) -> list[int]:
    steps = (first * 10**power for power in range(9) for first in (1, 2, 5))
    step = next(step for step in steps if epochs / step <= 6)
    return [1, *range(step if step > 1 else 2, epochs + 1, step)]


def _looks(axis: Axis | None, *, lines: bool = False) -> dict[str, Any]:
    """Colour, marker and dash; the same for a value whatever the filters leave."""
    if axis is None:
        return {
            "color": alt.value(_COLOURS[0]),
            "shape": alt.value(_SHAPES[0]),
            "strokeDash": alt.value(_DASHES[0]),
        }
    domain = list(axis.labels)

    def scale(values: Sequence[Any]) -> alt.Scale:
        return alt.Scale(domain=domain, range=list(values[: len(domain)]))

    # The first layer of a chart is a pale one, which its legend would otherwise follow.
    marks: Any = {"symbolOpacity": 1, "symbolStrokeWidth": 0}
    strokes: Any = {"symbolType": "stroke", "symbolSize": 600, "symbolStrokeWidth": 2}
    legend = marks | (strokes if lines else {}) | _named(axis)
    kind: Any = {"type": "nominal", "legend": alt.Legend(**legend)}
    return {
        "color": alt.Color(axis.key, scale=scale(_COLOURS), **kind),
        "shape": alt.Shape(axis.key, scale=scale(_SHAPES), **kind),
        "strokeDash": alt.StrokeDash(axis.key, scale=scale(_DASHES), **kind),
    }


def _named(axis: Axis) -> dict[str, Any]:
    """Labels of a legend or of panels that say which axis the values are of."""
    # Of panels Vega-Lite puts a condition in place of the label.
    return {"labelExpr": f"{json.dumps(axis.before)} + (datum.label)"} if axis.before else {}


def _tooltips(axes: Iterable[Axis]) -> list[alt.Tooltip]:
    return [alt.Tooltip(axis.key, type="nominal", title=axis.label) for axis in axes]


def _panels(layers: Sequence[alt.Chart], rows: str, design: Design) -> alt.TopLevelMixin:
    chart = alt.layer(*layers).properties(height=270)
    axis = design.panel
    # The rows belong to the whole: layers that named them too would show all of them in each panel.
    whole: Any = chart.properties(data=alt.NamedData(rows))
    if axis is not None:
        header = alt.Header(**_named(axis))
        panels = alt.Facet(axis.key, type="nominal", sort=list(axis.labels), header=header)
        columns = 3 if len(axis.values) == 3 else 2
        whole = chart.facet(panels, data=alt.NamedData(rows), columns=columns)
    return whole.add_params(
        alt.param(name="t95", value=_T95),
        alt.param(name=LINES, value={}),
    )
