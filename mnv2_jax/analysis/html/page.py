"""The report: one HTML page, which needs no server."""

import base64
import contextlib
import functools
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from importlib import metadata, resources
from string import Template
from types import MappingProxyType
from typing import Any

import pandas as pd
import vl_convert

from mnv2_jax import atomic, cache
from mnv2_jax.analysis import caveats, tables
from mnv2_jax.analysis.associations import Association
from mnv2_jax.analysis.charts.chart import VEGA_LITE, Chart
from mnv2_jax.analysis.evaluated import Evaluated
from mnv2_jax.analysis.html import claim_list, design, embedded, evaluations, means, why
from mnv2_jax.analysis.html import mistakes as mistakes_section
from mnv2_jax.analysis.html.markup import count, region
from mnv2_jax.analysis.mistakes import Mistakes, Picture
from mnv2_jax.analysis.names import number_name, short_name
from mnv2_jax.schema import STATUSES

_SCRIPTS = ("page.js", "charts.js", "details.js", "table.js", "start.js")
_RECORDS = (
    "Configuration, environment and curve of each run lie under <code>runs/</code>, beside this "
    "file."
)
_COMMITS = 3  # Named in the report, at most.


def render(
    *,
    title: str,
    name: str = "",
    command: str,
    frame: pd.DataFrame,
    claims: Sequence[Mapping[str, Any]],
    curves: pd.DataFrame,
    charts: Mapping[str, Chart],
    mistakes: Mistakes | None,
    pictures: Mapping[int, Picture],
    configs: Mapping[str, Mapping[str, Any]],
    environments: Mapping[str, Mapping[str, Any]],
    associations: Mapping[str, Sequence[Association]] = MappingProxyType({}),
    evaluated: Sequence[Evaluated] = (),
) -> str:
    """Return the page.

    Args:
      title: heading, as plain text.
      name: of the experiment, beside it.
      command: the one that reproduces the results.
      frame: one row per run, as `tables.read_results` returns it.
      claims: decided claims, as `verdicts.decide` returns them.
      curves: one row per run and epoch, as `tables.read_curves` returns it.
      charts: by name, as `charts.make_charts` and `charts.make_choices` return them.
      mistakes: as `mistakes.read` returns them.
      pictures: as `mistakes.read_pictures` returns them.
      configs: by run id, as `tables.read_files` returns them.
      environments: by run id, as `tables.read_files` returns them.
      associations: of each table of bottlenecks, by the name of its chart.
      evaluated: the other side tables, as `evaluated.read` returns them.
    """
    axes = design.axes_of(frame)
    data = embedded.page_data(
        axes=axes,
        frame=frame,
        curves=curves,
        configs=configs,
        environments=environments,
        charts=charts,
    )
    metric = tables.describe(frame, tables.main_metric(frame)).label.lower()
    of_why = {name: _figure(name, chart) for name, chart in charts.items() if name in associations}
    others = {name: chart for name, chart in charts.items() if name not in of_why}
    style, script, vega = _web("report.css"), "\n".join(map(_web, _SCRIPTS)), _vega()
    return Template(_web("report.html")).substitute(
        title=escape(title),
        name=f"<small>{escape(name)}</small>" if name != title else "",
        command=escape(command),
        checkout=checkout(environments),
        verdict_summary=claim_list.summary(claims),
        run_summary=_run_summary(frame),
        warning=_warning(frame),
        lead=mistakes_section.lead(frame, mistakes),
        mistakes=mistakes_section.section(mistakes, pictures),
        mistakes_link='<a href="#mistakes">Mistakes</a>' if mistakes else "",
        unfinished=_unfinished(frame),
        records=_RECORDS if set(configs) - {""} else "This folder has no records of single runs.",
        claims=claim_list.claims(claims),
        more_reading=claim_list.reading(claims),
        charts=_figures(others, filters=bool(axes)),
        why=why.section(frame, metric, of_why, associations),
        why_link='<a href="#why">Why</a>' if associations else "",
        measure=escape(metric),
        accuracy=means.table(axes, frame),
        evaluations=evaluations.section(evaluated),
        evaluations_link='<a href="#evaluations">Evaluations</a>' if evaluated else "",
        environment=_environment(tables.distinct_values(environments)),
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
    """Return Vega, Vega-Lite and vega-embed as one script; building it takes seconds, once."""
    path = cache.folder() / f"vega-{VEGA_LITE}-{metadata.version('vl-convert-python')}.js"
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8")
    # Its stub requires a snippet; without one it exports all three to the page.
    bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]
    # Either would end the script element, or hide its end.
    if "</script" in bundle or "<!--" in bundle:
        raise ValueError("the Vega bundle of vl-convert cannot be put into a page: it holds a tag")
    with contextlib.suppress(OSError):
        atomic.write_text(path, bundle)
    return bundle


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"


def _run_summary(frame: pd.DataFrame) -> str:
    statuses = frame["status"].value_counts()
    words = ", ".join(f"{statuses[name]:,} {name}" for name in STATUSES if name in statuses)
    constants = [
        (axis, frame[axis].iloc[0])
        for axis in tables.design_axes(frame)
        if frame[axis].nunique(dropna=False) == 1
    ]
    constant = ", ".join(
        f"{short_name(axis).lower()} {number_name(axis, value) or design.value_text(value)}"
        for axis, value in constants
    )
    runs = f"{count(len(frame), 'run')}{': ' + words if words else ''}."
    return escape(runs + (f" The same in all of them: {constant}." if constant else ""))


def _warning(frame: pd.DataFrame) -> str:
    """Return the warning on ruined runs that goes before the verdicts; "" without such runs."""
    warning = caveats.on_ruined(tables.count_ruined(frame), len(frame))
    return f'<p class="note">{escape(warning)}</p>' if warning else ""


def _unfinished(frame: pd.DataFrame) -> str:
    diverged, failed = ((frame["status"] == status).sum() for status in ("diverged", "failed"))
    return f"Of {count(len(frame), 'run')}, {diverged} diverged and {failed} failed."


def _figures(charts: Mapping[str, Chart], *, filters: bool) -> str:
    """Return places for the page's script to draw into, those that filters do not change first."""
    first = {name: chart for name, chart in charts.items() if chart.figure in ("", name)}
    figures = {name: _figure(name, chart) for name, chart in first.items()}
    fixed = [figures.pop(name) for name, chart in first.items() if not chart.sets]
    group = (
        '<div id="filters" role="group" aria-label="Filters"><p class="quiet">The charts below and '
        "the table of runs show what is ticked. Means are drawn where they are of the ticked runs "
        "alone: where a chart averages over an axis, tick one value of it, or all.</p></div>"
    )
    return "\n".join([*fixed, group if filters else "", *figures.values()])


def _figure(name: str, chart: Chart) -> str:
    label, heading = f"figure-{name}-title", escape(chart.heading)
    return (
        f'<figure aria-labelledby="{escape(label)}"><h3 id="{escape(label)}">{heading}</h3>\n'
        '<div class="controls"></div>\n<p class="quiet" hidden></p>\n'
        f'<div class="chart" id="chart-{escape(name)}" role="img" aria-label="{heading}"></div>\n'
        f"<figcaption>{escape(' '.join(chart.notes))}</figcaption></figure>"
    )


def _environment(environment: Mapping[str, Sequence[str]]) -> str:
    if not environment:
        return "<p>No environment was recorded.</p>"
    rows = "\n".join(
        f'<tr><th scope="row">{escape(key)}</th><td>{escape(_some(values))}</td></tr>'
        for key, values in environment.items()
    )
    table = region("Environment", f'<table class="plain"><tbody>\n{rows}\n</tbody></table>')
    entries = count(len(environment), "entry", "entries")
    return f"<details><summary>{entries}</summary>\n{table}</details>"


def _some(values: Sequence[str]) -> str:
    rest = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return ", ".join(values[:3]) + rest


def checkout(environments: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the commit to check out, as HTML, with a warning if it lacks some of the code.

    Args:
      environments: by run id, as `tables.read_files` returns them.
    """
    commits = Counter(entry["commit"] for entry in environments.values() if entry.get("commit"))
    versions = '<a href="#environment">Environment</a> has the versions of all libraries.'
    if not commits:
        return f"<p>No commit was recorded. {versions}</p>"
    runs_of = {f"<code>{escape(commit)}</code>": runs for commit, runs in commits.most_common()}
    if len(commits) == 1:
        lines = [f"<p>Check out commit {next(iter(runs_of))} first. {versions}</p>"]
    else:
        listed = [f"{count(runs, 'run')} of {commit}" for commit, runs in runs_of.items()]
        some = ", ".join(listed[:_COMMITS])
        rest = f" and {len(commits) - _COMMITS} more" if len(commits) > _COMMITS else ""
        lines = [
            f'<p class="note">Runs are of {len(commits)} commits: {some}{rest}. No checkout '
            f"gives all of them. {versions}</p>"
        ]
    dirty = sum(entry.get("dirty") is True for entry in environments.values())
    if dirty:
        of = f"{dirty:,} of {count(len(environments), 'run')}"
        lines.append(
            f'<p class="note">In {of} the checkout had uncommitted changes: the commit is not '
            "all of the code that ran.</p>"
        )
    return "\n".join(lines)
