"""Writes the report as one HTML page that asks nothing of any server."""

import base64
import contextlib
import functools
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib import metadata, resources
from string import Template
from typing import Any

import pandas as pd

from mnv2_jax import atomic, cache
from mnv2_jax.analysis import notes, records
from mnv2_jax.analysis.figures.style import number_name, short_name
from mnv2_jax.analysis.html import charts, claim_table, design, embedded, means, reproduce
from mnv2_jax.analysis.html.design import Design
from mnv2_jax.analysis.html.markup import count, region
from mnv2_jax.schema import STATUSES

_SCRIPTS = ("page.js", "charts.js", "details.js", "table.js", "start.js")


def render(
    *,
    title: str,
    command: str,
    frame: pd.DataFrame,
    claims: Sequence[Mapping[str, Any]],
    curves: pd.DataFrame,
    configs: Mapping[str, Mapping[str, Any]],
    environments: Mapping[str, Mapping[str, Any]],
) -> str:
    """Fills the page.

    Args:
      title: heading, as plain text.
      command: what to type to get these results again.
      frame: one row per run, as `records.read_results` returns it.
      claims: decided claims, as `verdicts.decide` returns them.
      curves: one row per run and epoch, as `records.read_curves` returns it.
      configs: by run id, as `records.read_files` returns them.
      environments: by run id, as `records.read_files` returns them.
    """
    axes = design.of(frame)
    specs = charts.make_specs(axes, frame, curves, claims)
    data = embedded.page_data(
        design=axes,
        frame=frame,
        curves=curves,
        configs=configs,
        environments=environments,
        claims=claims,
        charts=specs,
        chart_config=charts.CONFIG,
    )
    style, script, vega = _web("report.css"), "\n".join(map(_web, _SCRIPTS)), _vega()
    return Template(_web("report.html")).substitute(
        title=escape(title),
        command=escape(command),
        checkout=reproduce.checkout(environments),
        verdict_summary=claim_table.summary(claims),
        run_summary=_run_summary(frame),
        warning=_warning(frame),
        unfinished=_unfinished(frame),
        claims=claim_table.table(claims),
        more_reading=claim_table.reading(claims),
        charts=_charts(axes, specs, (frame["status"] == "done").sum() >= charts.MANY),
        accuracy=means.table(axes, frame),
        environment=_environment(records.distinct_values(environments)),
        data=embedded.json_text(data),
        style=style,
        style_hash=_hash(style),
        vega=vega,
        vega_hash=_hash(vega),
        script=script,
        script_hash=_hash(script),
    )


def _web(name: str) -> str:
    path = resources.files("mnv2_jax.analysis.html") / "web" / name
    return path.read_text(encoding="utf-8")


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and vega-embed, of the version that Altair writes for."""
    kept = cache.folder() / f"vega-{charts.VEGA_LITE}-{metadata.version('vl-convert-python')}.js"
    with contextlib.suppress(OSError):
        return kept.read_text(encoding="utf-8")
    import vl_convert  # Holds a JavaScript engine; needed once per version.

    # Its stub asks for a snippet, without which it exports all three to the page. Takes seconds.
    bundle = vl_convert.javascript_bundle(vl_version=charts.VEGA_LITE)  # type: ignore[call-arg]
    # Either would end the script element, or make its end be missed.
    if "</script" in bundle or "<!--" in bundle:
        raise ValueError("the Vega bundle of vl-convert cannot be put into a page: it holds a tag")
    with contextlib.suppress(OSError):  # Made again the next time.
        atomic.write_text(kept, bundle)
    return bundle


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"


def _run_summary(frame: pd.DataFrame) -> str:
    statuses = frame["status"].value_counts()
    words = ", ".join(f"{statuses[name]:,} {name}" for name in STATUSES if name in statuses)
    same = {
        axis: frame[axis].iloc[0]
        for axis in records.design_axes(frame)
        if frame[axis].nunique(dropna=False) == 1
    }
    constant = ", ".join(
        f"{short_name(axis).lower()} {number_name(axis, value) or design.value_text(value)}"
        for axis, value in same.items()
    )
    runs = f"{count(len(frame), 'run')}{': ' + words if words else ''}."
    return escape(runs + (f" The same in all of them: {constant}." if constant else ""))


def _warning(frame: pd.DataFrame) -> str:
    """What a reader has to know before the verdicts; nothing if all went well."""
    said = notes.on_ruined(records.count_ruined(frame), len(frame))
    return f'<p class="note">{escape(said)}</p>' if said else ""


def _unfinished(frame: pd.DataFrame) -> str:
    diverged, failed = ((frame["status"] == status).sum() for status in ("diverged", "failed"))
    return f"Of {count(len(frame), 'run')}, {diverged} diverged and {failed} failed."


def _charts(axes: Design, specs: Mapping[str, Any], many: bool) -> str:
    """Places for the page's script to draw into: first what filters do not change."""
    texts = _captions(axes, many)
    figures = {name: _figure(name, *texts[name]) for name in texts if name in specs}
    claims = [figures.pop("claims", "")]
    for name, spec in specs.items():
        if name.startswith("claims_"):
            heading, caption = texts["claims"]
            unit = spec["usermeta"]["unit"]
            claims.append(_figure(name, f"{heading}{f', in {unit}' if unit else ''}", caption))
    filters = (
        '<div id="filters" role="group" aria-label="Filters"><p class="quiet">The charts below and '
        "the table of runs show what is ticked.</p></div>"
    )
    return "\n".join([*claims, filters if axes.axes else "", *figures.values()])


def _captions(axes: Design, many: bool) -> dict[str, tuple[str, str]]:
    along = "runs" if axes.x is None else axes.x.label.lower()
    averaged = ", ".join(axis.label.lower() for axis in axes.hidden)
    averaging = f" A mean averages over {averaged}: filter to tell them apart." if averaged else ""
    shallow = ""
    if axes.x and axes.x.name == "expansion" and 1 in axes.x.values:
        shallow = (
            " At expansion 1 the block has no expansion layer: that network is shallower than the "
            "others."
        )
    return {
        "claims": (
            "What the claims came to",
            "Mean differences with the intervals that decide the claims. A shaded bar is the "
            "margin within which values count as equivalent. Filters do not change this chart: "
            "claims are decided on all runs.",
        ),
        "accuracy": (
            f"Accuracy over {along}",
            "Every small point is a run; large ones are means over seeds, with 95 % t intervals."
            f"{averaging}{shallow}",
        ),
        "cost": (
            "Accuracy over cost",
            "The same runs over multiply-adds, on a logarithmic scale: what is better may only be "
            f"larger.{averaging}{' So many runs are not drawn one by one again.' if many else ''}",
        ),
        "curves": (
            "Learning curves",
            "Validation accuracy after each epoch: thick lines are means of all finished runs of a "
            "colour, thin ones of each cell of the design, over seeds. More than 150 cells are not "
            "drawn one by one; filter to see them.",
        ),
    }


def _figure(name: str, heading: str, caption: str) -> str:
    label = f"figure-{name}-title"
    return (
        f'<figure aria-labelledby="{label}"><h3 id="{label}">{escape(heading)}</h3>\n'
        '<p class="quiet" hidden></p>\n'
        f'<div class="chart" id="chart-{name}" role="img" aria-label="{escape(heading)}"></div>\n'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _environment(environment: Mapping[str, Sequence[str]]) -> str:
    if not environment:
        return "<p>No environment was recorded.</p>"
    rows = "\n".join(
        f'<tr><th scope="row">{escape(key)}</th><td>{escape(_some(values))}</td></tr>'
        for key, values in environment.items()
    )
    return region("Environment", f'<table class="plain"><tbody>\n{rows}\n</tbody></table>')


def _some(values: Sequence[str]) -> str:
    rest = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return ", ".join(values[:3]) + rest
