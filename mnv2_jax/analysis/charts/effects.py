"""The differences that claims are about, over another axis: seeds, means and intervals."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis import units
from mnv2_jax.analysis.axes import is_number, main_number, values
from mnv2_jax.analysis.charts.chart import AXIS, INK, PAGE, Chart
from mnv2_jax.analysis.charts.lines import Rows, wrapped
from mnv2_jax.analysis.charts.panels import HEIGHT, NARROW, beside, layer
from mnv2_jax.analysis.charts.scales import places
from mnv2_jax.analysis.claims import Claim, shown
from mnv2_jax.analysis.coverage import counted
from mnv2_jax.analysis.decisions import Comparison
from mnv2_jax.analysis.names import axis_name, lower_name, value_name
from mnv2_jax.analysis.tables import design_axes
from mnv2_jax.analysis.verdicts import VERDICTS

Row = Mapping[str, Any]

_ALL = "All"
_LETTERS = 42  # Of a line of a panel's title.
_SLIM, _MOST_SLIM = 150, 5  # Pixels and number beside one another: of panels with one place each.


@dataclass(frozen=True)
class _Places:
    """The places of a panel: by name, the comparison; the axis, and those left out."""

    by_name: Mapping[str, Comparison]
    axis: str = ""
    averaged: Sequence[str] = ()


def effects(
    frame: pd.DataFrame, claims: Sequence[Claim | None], decided: Sequence[Row]
) -> Chart | None:
    """Chart the paired differences of each claim in a panel of its own, with a y axis of its own.

    The first place has the estimate that decides the claim, the others the same differences at each
    value of another axis: the main one, else the first in which pairs differ. A claim of several
    comparisons, such as an equivalence, has a place for each of them. A claim that is None is left
    out. Returns None if no claim has a difference.
    """
    made = [
        (_places(claim, counted(claim, frame, row)), claim, row)
        for claim, row in zip(claims, decided, strict=True)
        if claim is not None and row["estimate"] is not None
    ]
    if not made:
        return None
    slim = all(len(found.by_name) == 1 for found, *_ in made)
    rows = Rows()
    views: list[dict[str, Any]] = []
    ends: list[list[float]] = []
    for found, claim, row in made:
        own, number = _rows(found, claim, row), str(len(views))
        for one in own:
            rows.add(**one, view=number)
        ends.append(_ends(own))
        views.append(_view(number, found, row, ends[-1], slim))
    unit = [units.measure_of_row(row).unit for *_, row in made]
    averaged = dict.fromkeys(axis for found, *_ in made for axis in found.averaged)
    same = []
    for mine in unit:
        alike = [own for own, its in zip(ends, unit, strict=True) if its == mine]
        same.append([min(low for low, _ in alike), max(high for _, high in alike)])
    spec = {
        "data": {"name": "rows"},
        "concat": views,
        "columns": min(len(views), _MOST_SLIM) if slim else beside(len(views)),
        "usermeta": {
            "room": 64,
            **({"narrowest": _SLIM, "widest": 1.5 * _SLIM} if slim else {}),
            "grow": True,
            "y": {"own": ends, "same": same},
        },
    }
    notes = ["Points are seeds; bars are the intervals of each claim by itself."]
    if averaged:
        notes.append(f"Within a seed, differences are averaged over {' and '.join(averaged)}.")
    if any(row["part"] == "band" for row in rows.rows):
        notes.append("A shaded band is the margin within which values count as equivalent.")
    return Chart("Differences, paired by seed", spec, rows.rows, notes=notes)


def _places(claim: Claim, frame: pd.DataFrame) -> _Places:
    runs = claim.runs(frame)
    differences = claim.differences(runs)
    if differences is None:
        comparisons = claim.decide(runs).comparisons
        return _Places({one.name or _ALL: one for one in comparisons})
    pairs = differences.dropna(subset="difference")
    varied = [axis for axis in design_axes(frame) if axis in pairs and pairs[axis].nunique() > 1]
    same = [axis for axis in design_axes(frame) if axis not in varied]
    by_name = {_ALL: runs.compare(pairs)}
    main = main_number(frame, but=same) or next(iter(varied), None)
    if main is None:
        return _Places(by_name)
    present = [value for value in values(frame, main) if (pairs[main] == value).any()]
    for value in sorted(present) if is_number(frame, main) else present:
        by_name[value_name(main, value)] = runs.compare(pairs[pairs[main] == value])
    averaged = [lower_name(axis) for axis in varied if axis != main]
    return _Places(by_name, axis_name(main), averaged)


def _rows(found: _Places, claim: Claim, row: Row) -> list[dict[str, Any]]:
    """Return the rows of a panel, in the unit that is shown: seeds, means with intervals, band."""
    factor = units.measure_of_row(row).factor
    rows: list[dict[str, Any]] = []
    left = min(0.14, 0.04 * len(found.by_name))
    for place, (name, one) in enumerate(found.by_name.items()):
        mean = one.interval(claim.confidence)
        y, low, high = mean.estimate, mean.low, mean.high
        if name == _ALL and row["ci_low"] is not None:
            low, high = row["ci_low"], row["ci_high"]  # Wider, if seeds were added on the way.
        rows += [
            {"part": "seed", "at": name, "x": place - left, "y": factor * value, "seed": seed}
            for seed, value in zip(one.seeds, one.means.tolist(), strict=True)
        ]
        own = {"y": factor * y, "low": factor * low, "high": factor * high, "seeds": len(one.means)}
        look = row["verdict"] if name == _ALL else ""
        rows.append({"part": "effect", "at": name, "x": place + left / 2, **own, "look": look})
    if _ALL not in found.by_name and (band := _band(row)):
        rows.append({"part": "band", "low": band[0], "high": band[1]})
    return rows


def _band(row: Row) -> list[float] | None:
    band, factor = shown(row)["band"], units.measure_of_row(row).factor
    return None if band is None else [factor * end for end in band]


def _ends(rows: Sequence[Row]) -> list[float]:
    """Return the ends of y by points, 0 and the band: wide intervals of few seeds are cut."""
    points = [0.0, *(row["y"] for row in rows if "y" in row)]
    points += [row[end] for row in rows if row["part"] == "band" for end in ("low", "high")]
    intervals = [row[end] for row in rows for end in ("low", "high") if end in row]
    low, high = min(points), max(points)
    room = (high - low) / 2 or 1.0
    bottom, top = np.nanmin([low, *intervals]), np.nanmax([high, *intervals])
    margin = 0.06 * (top - bottom)
    ends = max(bottom - margin, low - room), min(top + margin, high + room)
    return [round(float(end), 6) for end in ends]


def _view(
    number: str, found: _Places, row: Row, ends: Sequence[float], slim: bool
) -> dict[str, Any]:
    """Return the specification of a panel, whose rows have its number."""
    measure, names = units.measure_of_row(row), list(found.by_name)
    of_x = {"type": "quantitative", "title": found.axis or None, **places(names, grid=False)}
    scale = {"domain": ends, "nice": False, "zero": False}
    title = wrapped(units.of_differences([measure]))
    of_y = {"type": "quantitative", "title": title, "scale": scale}
    x, y = {"field": "x", **of_x}, {"field": "y", **of_y}
    between = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
    looks = ["", *VERDICTS]  # Panels share their scales of colours.
    color = {
        "field": "look",
        "type": "nominal",
        "scale": {"domain": looks, "range": [INK, *(f"var(--{name})" for name in VERDICTS)]},
        "legend": None,
    }

    def tooltip(**titles: str) -> list[dict[str, Any]]:
        place = {"field": "at", "type": "nominal", "title": found.axis or "Comparison"}
        own = [{"field": field, "title": title} for field, title in titles.items()]
        signed = {"format": f"+.{measure.digits}f"}
        return [place, *(one | (signed if one["field"] in "y low high" else {}) for one in own)]

    of_seed = tooltip(seed="Seed", y="Difference")
    of_mean = tooltip(y="Mean difference", low="Interval from", high="to", seeds="Seeds")
    point = {"type": "point", "filled": True}
    mean = point | {"size": 70, "opacity": 1, "stroke": PAGE, "strokeWidth": 1}
    once: dict[str, Any] = {"data": {"values": [{}]}}
    split = {
        "mark": {"type": "rule", "color": "var(--rule)"},
        "encoding": {"x": of_x | {"datum": 0.5}},
    }
    layers: list[dict[str, Any]] = [
        layer("band", {"type": "rect", "color": "var(--margin)"}, **between),
        {**once, "mark": {"type": "rule", "color": AXIS}, "encoding": {"y": of_y | {"datum": 0}}},
        *([{**once, **split}] if names[0] == _ALL and len(names) > 1 else []),
        layer(
            "seed", point | {"size": 22, "opacity": 0.55, "color": INK}, x=x, y=y, tooltip=of_seed
        ),
        layer(
            "effect", {"type": "rule", "strokeWidth": 2, "clip": True}, x=x, color=color, **between
        ),
        layer("effect", mean, x=x, y=y, color=color, tooltip=of_mean),
    ]
    title = f"{row['verdict'].capitalize()}: {row['statement'] or row['name']}"
    return {
        "title": textwrap.wrap(title, _LETTERS // 2 if slim else _LETTERS),
        "transform": [{"filter": f"datum.view === '{number}'"}],
        "width": _SLIM if slim else NARROW,
        "height": HEIGHT,
        "layer": layers,
    }
