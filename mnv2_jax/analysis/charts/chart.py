"""Charts: Vega-Lite specifications with rows, drawn by the report's page, as SVG and as PNG.

All numbers are computed before, and are in the rows. Colours are the CSS variables of the report's
page, which follow light, dark and print without drawing anew; files have the light ones.
"""

import functools
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import vl_convert

from mnv2_jax import atomic

VEGA_LITE = "6.4"
"""The version that specifications are written for."""

INK, QUIET, PAGE, AXIS = (f"var(--{name})" for name in ("ink", "quiet", "page", "axis"))

SUFFIXES = (".svg", ".png")

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
    "aria": False,  # a figure has one label; one for each of 5,000 points helps nobody
    "view": {"stroke": None},
    "axis": {
        "domainColor": AXIS,
        "tickColor": AXIS,
        "gridColor": "var(--rule)",
        "labelColor": QUIET,
        "titleColor": QUIET,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelPadding": 5,
    },
    "axisX": {"tickSize": 4},
    "axisY": {"ticks": False, "tickCount": 6},
    "header": {
        "title": None,
        "labelColor": INK,
        "labelFontSize": 13,
        "labelFontWeight": 600,
        "labelAnchor": "start",
        "labelPadding": 6,
    },
    "title": {"color": INK, "fontSize": 13, "fontWeight": 600, "anchor": "start", "offset": 8},
    "legend": {
        "orient": "top",
        "titleColor": QUIET,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelColor": INK,
        "labelFontSize": 12.5,
        "labelLimit": 260,
        "symbolSize": 70,
        "columnPadding": 22,
        "offset": 14,
    },
    "facet": {"spacing": 24},
    "concat": {"spacing": 24},
}
"""Vega-Lite's config of all charts."""

# vl-convert brings this font along, so that files do not depend on those of the machine.
_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
_PIXELS_PER_INCH = 150
_LETTER = 5.6  # Pixels: the width of a letter of a note.


@dataclass(frozen=True)
class Chart:
    """A chart and the notes below it.

    Attributes:
      heading: of the report's figure.
      spec: in Vega-Lite, without rows: its data are named `rows`. For the page, `usermeta` has the
        `room` that axes take beside panels, the `narrowest` and `widest` that these may be, the
        width of an `entry` of the legend, whether wide panels `grow` in height, the `ends` of y for
        all runs and for some, and, under `y`, the ends of each panel if it has an axis of its
        `own`, or the `same` as the others.
      rows: what is drawn; one with `set` only while the reader chooses all runs of that set.
      sets: positions of runs in the results, under `runs`. A row whose set is part of a larger one,
        `of`, is drawn while the reader chooses exactly that part of it.
      notes: sentences.
      figure: the name of the chart whose place in the report it takes, if the reader chooses it.
      choice: that choice, by the names of selectors, such as {"Axis": "Projection"}.
    """

    heading: str
    spec: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    sets: Sequence[Mapping[str, Any]] = field(default=())
    notes: Sequence[str] = field(default=())
    figure: str = ""
    choice: Mapping[str, str] = field(default_factory=dict)

    def svg(self) -> str:
        """Return the chart as SVG, with texts as text; the same chart gives the same SVG."""
        own = self.spec.get("config", {})
        config = {**CONFIG, **{name: CONFIG.get(name, {}) | part for name, part in own.items()}}
        spec: dict[str, Any] = {
            **_in_light({**self.spec, "config": config | {"background": PAGE, "font": _FONT}}),
            "datasets": {"rows": [row for row in self.rows if is_whole(row, self.sets)]},
            "padding": 8,
        }
        if self.notes:
            lines = textwrap.wrap(" ".join(self.notes), int(self.width / _LETTER))
            spec["title"] = {
                "text": lines,
                "orient": "bottom",
                "anchor": "start",
                "fontSize": 11,
                "fontWeight": "normal",
                "color": _light()["quiet"],
                "offset": 14,
            }
        return _svg(json.dumps(spec))

    def png(self) -> bytes:
        """Return the chart as PNG, 150 dots per inch; the same chart gives the same bytes."""
        return vl_convert.svg_to_png(self.svg(), ppi=_PIXELS_PER_INCH)

    def save(self, path: str | Path) -> None:
        """Write an .svg or a .png file, in one step.

        Raises:
          ValueError: its name ends in neither .svg nor .png.
          OSError: it cannot be written.
        """
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise ValueError(f"path={path}: expected a file that ends in .svg or .png")
        atomic.write_bytes(path, self.png() if path.suffix == ".png" else self.svg().encode())

    @property
    def width(self) -> float:
        """The approximate width of the file, in pixels."""
        first, *_ = views_of(self.spec)
        return self.spec.get("columns", 1) * (first["width"] + 40)

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows."""
        return self.png()


def views_of(spec: Mapping[str, Any]) -> list[Any]:
    """Return the parts of a specification that have a size."""
    return [spec["spec"]] if "spec" in spec else spec.get("concat", [spec])


def is_whole(row: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a row is drawn while all runs are chosen."""
    return "set" not in row or "of" not in sets[row["set"]]


@functools.lru_cache(maxsize=1)  # PNG is made from the SVG, and mostly right after it.
def _svg(spec: str) -> str:
    # No base URLs: nothing is loaded from anywhere, whatever the rows contain.
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, allowed_base_urls=[])
    # Vega's clip numbers count on from chart to chart.
    numbers: dict[str, str] = {}
    return re.sub(
        r'(id="clip|url\(#clip)(\d+)',
        lambda match: match[1] + numbers.setdefault(match[2], str(len(numbers))),
        svg,
    )


@functools.cache
def _light() -> dict[str, str]:
    """Return the colours of the report's CSS variables on a light screen, by name."""
    css = resources.files("mnv2_jax.analysis.html") / "web" / "report.css"
    first, _, _ = css.read_text(encoding="utf-8").partition("}")
    return {**dict(re.findall(r"--([\w-]+): *(#\w+);", first)), "page": "#ffffff"}


def _in_light(value: Any) -> Any:
    """Return a part of a specification with CSS variables replaced by colours."""
    if isinstance(value, dict):
        return {key: _in_light(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_in_light(one) for one in value]
    if isinstance(value, str) and value.startswith("var(--"):
        return _light().get(value[6:-1], value)
    return value
