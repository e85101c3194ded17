"""The forest plot: the differences of claims and their intervals, one below the other."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mnv2_jax.analysis import units
from mnv2_jax.analysis.axes import main_number, values
from mnv2_jax.analysis.charts.chart import AXIS, INK, PAGE, Chart
from mnv2_jax.analysis.charts.lines import Rows
from mnv2_jax.analysis.charts.panels import layer
from mnv2_jax.analysis.claims import Claim, shown
from mnv2_jax.analysis.coverage import counted
from mnv2_jax.analysis.html.markup import difference, signed
from mnv2_jax.analysis.means import Interval
from mnv2_jax.analysis.names import full_name
from mnv2_jax.analysis.tables import design_axes

Row = Mapping[str, Any]

_SHAPES = {
    "supported": "circle",
    "refuted": "square",
    "negligible": "triangle-up",
    "inconclusive": "diamond",
    "ruined": "cross",
}
_LINE, _BAR, _ALONG = 16, 28, 20
"""Pixels: of a line of text, of a claim's interval below it, and of one along an axis."""

_LETTERS = 52  # Of a line of text, for which a narrow screen has room.


def forest(
    frame: pd.DataFrame, claims: Sequence[Claim | None], decided: Sequence[Row]
) -> Chart | None:
    """Chart the differences of claims, and those along the main axis, if they have any.

    Each unit has an axis of its own. A claim that is None has its row alone. Returns None if no
    claim has a difference.
    """
    by_unit: dict[str, list[tuple[Claim | None, Row]]] = {}
    for claim, row in zip(claims, decided, strict=True):
        by_unit.setdefault(units.measure_of_row(row).unit, []).append((claim, row))
    rows = Rows()
    views = [
        view
        for number, pairs in enumerate(by_unit.values())
        if (view := _unit(rows, str(number), frame, pairs))
    ]
    if not views:
        return None
    spec = {"data": {"name": "rows"}, "concat": views, "columns": 1, "usermeta": {"room": 16}}
    notes = ["Mean differences with the intervals that decide the claims."]
    if any(row["part"] == "estimate" and row["margin_low"] is not None for row in rows.rows):
        notes.append("A shaded bar is the margin within which values count as equivalent.")
    return Chart("The differences that the claims are about", spec, rows.rows, notes=notes)


def _unit(
    rows: Rows, view: str, frame: pd.DataFrame, pairs: Sequence[tuple[Claim | None, Row]]
) -> dict[str, Any] | None:
    """Add the rows of claims in one unit; return their specification, None without rows."""
    measured = [row for _, row in pairs if row["estimate"] is not None]
    along = [
        (claim, means)
        for claim, row in pairs
        if claim and (means := _along(claim, counted(claim, frame, row)))
    ]
    top, widest = 0, 0

    def add_text(text: str, part: str) -> None:
        nonlocal top
        for line in textwrap.wrap(text, _LETTERS):
            rows.add(part, view=view, text=line, y=top + _LINE / 2)
            top += _LINE

    for row in measured:
        add_text(f"{row['verdict'].capitalize()}: {row['statement'] or row['name']}", "label")
        rows.add("estimate", view=view, **claim_fields(row), y=top + 12)
        top += _BAR
    for claim, estimates in along:
        top += _LINE // 2
        add_text(claim.statement or claim.name, "title")
        for label, mean in estimates:
            y = top + _ALONG / 2
            rows.add("label", view=view, text=label, y=y)
            rows.add("along", view=view, y=y, x=mean.estimate, low=mean.low, high=mean.high)
            widest, top = max(widest, len(label)), top + _ALONG
    if not top:
        return None
    title = units.of_differences([units.measure_of_row(row) for _, row in pairs])
    return _view(view, measured, title, top, 16 + 6 * widest if widest else 0)


def _view(view: str, measured: Sequence[Row], title: str, height: int, left: int) -> dict[str, Any]:
    present = {row["verdict"] for row in measured}
    verdicts = [name for name in _SHAPES if name in present]
    color, shape = (
        {
            "field": "verdict",
            "type": "nominal",
            "scale": {"domain": verdicts, "range": looks},
            "legend": None,
        }
        for looks in ([f"var(--{name})" for name in verdicts], [_SHAPES[n] for n in verdicts])
    )
    down = {"domain": [0, height], "reverse": True, "nice": False, "zero": False}
    y = {"field": "y", "type": "quantitative", "scale": down, "axis": None}
    x = {
        "field": "x",
        "type": "quantitative",
        "title": title,
        "axis": {"tickCount": 6, "domain": False, "labelFlush": False},
    }
    at = {"x": x, "y": y}
    scale = {"rangeMin": left, "padding": 10, "nice": False}
    zero = {"datum": 0, "type": "quantitative", "scale": scale}
    ends = {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y}
    margin = {"x": x | {"field": "margin_low"}, "x2": {"field": "margin_high"}, "y": y}
    tooltip = [
        {"field": name.lower(), "type": "nominal", "title": name}
        for name in ("Claim", "Verdict", "Difference", "Interval")
    ]
    beside = {"type": "text", "align": "left", "baseline": "middle", "fontSize": 12.5}
    halo = beside | {"fill": PAGE, "stroke": PAGE, "strokeWidth": 5}
    text = {"x": {"value": 0}, "y": y, "text": {"field": "text"}}
    mark = {"type": "point", "filled": True, "opacity": 1}
    looks = {"color": color, "shape": shape, "tooltip": tooltip}
    return {
        "transform": [{"filter": f"datum.view === '{view}'"}],
        "width": 520,
        "height": height,
        "layer": [
            layer("estimate", {"type": "bar", "color": "var(--margin)", "height": 16}, **margin),
            {"mark": {"type": "rule", "color": AXIS}, "encoding": {"x": zero}},
            layer("along", {"type": "rule", "strokeWidth": 1.6, "color": INK}, **ends),
            layer("along", mark | {"size": 40, "color": INK}, **at),
            layer("estimate", {"type": "rule", "strokeWidth": 2}, **ends, color=color),
            layer("estimate", mark | {"size": 90}, **at, **looks),
            layer("datum.text", halo, **text),
            layer("label", beside | {"color": INK}, **text),
            layer("title", beside | {"color": INK, "fontWeight": 600}, **text),
        ],
    }


def _along(claim: Claim, frame: pd.DataFrame) -> list[tuple[str, Interval]]:
    """Return the claim's difference at each value of the main axis, if its pairs differ in one."""
    runs = claim.runs(frame)
    differences = claim.differences(runs)
    if differences is None:
        return []
    pairs = differences.dropna(subset="difference")
    same = [axis for axis in design_axes(frame) if axis not in pairs or pairs[axis].nunique() < 2]
    main = main_number(frame, but=same)
    if main is None:
        return []
    result = []
    for value in values(pairs, main):
        found = runs.compare(pairs[pairs[main] == value]).interval(claim.confidence)
        ends = (runs.measure.factor * end for end in (found.estimate, found.low, found.high))
        result.append((full_name(main, value), Interval(*ends)))
    return result


def claim_fields(row: Row) -> dict[str, Any]:
    """Return the fields of a claim's row, in the unit that is shown."""
    measure, band = units.measure_of_row(row), shown(row)["band"] or (None, None)
    x, low, high, *ends = (
        None if value is None else round(measure.factor * value, 4 if measure.is_fraction else 6)
        for value in (row["estimate"], row["ci_low"], row["ci_high"], *band)
    )
    interval = "none"
    if low is not None:
        ends_text = f"{signed(measure, row['ci_low'])} to {signed(measure, row['ci_high'])}"
        interval = f"{ends_text}, {100 * row['confidence']:.0f} %"
    return {
        **{"x": x, "low": low, "high": high, "margin_low": ends[0], "margin_high": ends[1]},
        "claim": row["statement"] or row["name"],
        "verdict": row["verdict"],
        "difference": difference(measure, row["estimate"]),
        "interval": interval,
    }
