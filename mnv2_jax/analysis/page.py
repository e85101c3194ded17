"""Writes the report as one HTML page that asks nothing of any server."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from mnv2_jax.analysis.records import STATUSES, design_axes
from mnv2_jax.analysis.style import PROJECTIONS, SHORTCUTS, in_order
from mnv2_jax.analysis.verdicts import VERDICTS, p_text, pair_count

_CAPTIONS = {
    "accuracy_over_expansion": (
        "Accuracy over expansion",
        "Every point is a seed, lines are means, bands 95 % t intervals over seeds. At expansion 1 "
        "the block has no expansion layer: that network is shallower than the others.",
    ),
    "accuracy_over_madds": (
        "Accuracy over cost",
        "The same runs over multiply-adds, because a larger expansion also costs more and "
        "expansion 1 is a shallower network. The small numbers above name the expansion.",
    ),
    "paired_differences": (
        "Paired differences",
        "Dots are mean differences with 95 % t intervals over seeds, diamonds the claims with the "
        "intervals that decide them. The shaded bar is the margin within which values count as "
        "equivalent.",
    ),
    "learning_curves": (
        "Learning curves",
        "Validation accuracy after each epoch, mean over all finished runs of a kind.",
    ),
}
_RUN_COLUMNS = {
    "run_id": "Run",
    "status": "Status",
    "seed": "Seed",
    "test_accuracy": "Test %",
    "validation_accuracy": "Validation %",
    "train_accuracy": "Train %",
    "test_loss": "Test loss",
    "madds": "MAdds",
    "params": "Parameters",
    "seconds": "Seconds",
}
# Shown in every table of runs; the other axes only if they vary.
_ALWAYS = ("projection", "shortcut", "expansion")


def render(
    *,
    title: str,
    command: str,
    frame: pd.DataFrame,
    claims: Sequence[Mapping[str, Any]],
    figures: Mapping[str, str],
    environment: Mapping[str, Sequence[str]],
) -> str:
    """Fills the page.

    Args:
      title: heading, as plain text.
      command: what to type to get these results again.
      frame: one row per run, as `records.read_results` returns it.
      claims: decided claims, as `verdicts.decide` returns them.
      figures: SVG text by name, for the names of `plots.make_figures`.
      environment: distinct values by entry, as `records.read_environments` returns them.
    """
    template = Template(
        (resources.files("mnv2_jax.analysis") / "report.html").read_text(encoding="utf-8")
    )
    return template.substitute(
        title=escape(title),
        command=escape(command),
        verdict_summary=_verdict_summary(claims),
        run_summary=_run_summary(frame),
        unfinished=_unfinished(frame),
        claims=_claims(claims),
        figures="\n".join(_figure(name, figures[name]) for name in _CAPTIONS),
        accuracy=_accuracy(frame),
        runs=_runs(frame),
        environment=_environment(environment),
    )


def _verdict_summary(claims: Sequence[Mapping[str, Any]]) -> str:
    if not claims:
        return "No claim was put to the test."
    counts = [sum(row["verdict"] == verdict for row in claims) for verdict in VERDICTS]
    words = ", ".join(f"{n} {verdict}" for n, verdict in zip(counts, VERDICTS, strict=True) if n)
    return f"{_count(len(claims), 'claim')}: {words}."


def _run_summary(frame: pd.DataFrame) -> str:
    statuses = frame["status"].value_counts()
    words = ", ".join(f"{statuses[name]} {name}" for name in STATUSES if name in statuses)
    constant = ", ".join(
        f"{axis} {_value(frame[axis].iloc[0])}"
        for axis in design_axes(frame)
        if frame[axis].nunique() == 1
    )
    runs = f"{_count(len(frame), 'run')}{': ' + words if words else ''}."
    return escape(runs + (f" The same in all of them: {constant}." if constant else ""))


def _unfinished(frame: pd.DataFrame) -> str:
    diverged, failed = ((frame["status"] == status).sum() for status in ("diverged", "failed"))
    return f"Of {_count(len(frame), 'run')}, {diverged} diverged and {failed} failed."


def _claims(claims: Sequence[Mapping[str, Any]]) -> str:
    if not claims:
        return "<p>The configuration makes no claims.</p>"
    head = "".join(
        f'<th scope="col"{css}>{label}</th>'
        for label, css in (
            ("Verdict", ""),
            ("Claim", ""),
            *((name, ' class="number"') for name in ("Difference", "Interval", "Pairs", "Seeds")),
            ("p", ' class="number"'),
        )
    )
    rows = "\n".join(_claim(row) for row in claims)
    return (
        f'<table class="claims"><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>'
    )


def _claim(row: Mapping[str, Any]) -> str:
    margin = f"<small>margin ±{100 * row['margin']:.1f}</small>" if "margin" in row else ""
    estimate = "not measured" if row["estimate"] is None else _points(row["estimate"])
    interval = "none"
    if row["ci_low"] is not None:
        level = f"<small>{100 * row['confidence']:.0f}\N{NO-BREAK SPACE}%</small>"
        interval = f"{_points(row['ci_low'])} to {_points(row['ci_high'])}{level}"
    numbers = {
        "Difference": estimate + margin,
        "Interval": interval,
        "Pairs": pair_count(row),
        "Seeds": str(row["seeds"]),
        "p": escape(p_text(row["p_value"])),
    }
    cells = "".join(
        f'<td class="number" data-label="{label}">{text}</td>' for label, text in numbers.items()
    )
    metric = row["metric"].replace("_", " ")
    return (
        f'<tr><td class="verdict {row["verdict"]}">{row["verdict"].capitalize()}</td>'
        f'<th scope="row">{escape(row["name"])}<small>{escape(row["statement"])} '
        f"({escape(row['source'])}, {metric})</small></th>{cells}</tr>"
    )


def _figure(name: str, svg: str) -> str:
    heading, caption = _CAPTIONS[name]
    return (
        f'<figure aria-labelledby="{name}-title"><h3 id="{name}-title">{heading}</h3>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{heading}">'
        f"{_inline(svg, name, heading)}</div>\n<figcaption>{caption}</figcaption></figure>"
    )


def _inline(svg: str, name: str, label: str) -> str:
    """Makes an SVG document part of the page: no prologue, and ids that no other figure has."""

    def rename(tag: re.Match[str]) -> str:
        return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag[0])

    svg = re.sub(r"<[^>]*>", rename, svg[svg.index("<svg") :])
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _accuracy(frame: pd.DataFrame) -> str:
    done = frame[frame["status"] == "done"]
    if done.empty:
        return "<p>No run finished.</p>"
    factors = ["block", "expansion", "shortcut", "projection"]
    cells = done.groupby([*factors, "seed"])["test_accuracy"].mean().groupby(level=factors)
    table = cells.agg(["mean", "std", "count"])
    present = {(shortcut, projection) for *_, shortcut, projection in table.index}
    shortcuts = in_order(done["shortcut"], SHORTCUTS)
    columns = [
        (shortcut, projection)
        for shortcut in shortcuts
        for projection in in_order(done["projection"], PROJECTIONS)
        if (shortcut, projection) in present
    ]
    spans = {shortcut: sum(column[0] == shortcut for column in columns) for shortcut in shortcuts}
    groups = "".join(
        f'<th scope="colgroup" class="group" colspan="{span}">'
        f"{escape(SHORTCUTS.get(shortcut, shortcut))}</th>"
        for shortcut, span in spans.items()
    )
    names = "".join(
        f'<th scope="col" class="number">{escape(PROJECTIONS.get(projection, projection))}</th>'
        for _, projection in columns
    )
    most = table["count"].max()
    several = done["block"].nunique() > 1
    rows = "\n".join(
        f'<tr><th scope="row">{f"{escape(block)}, " if several else ""}{_value(expansion)}</th>'
        + "".join(_mean_cell(table, (block, expansion, *column), most) for column in columns)
        + "</tr>"
        for block, expansion in sorted(set(zip(done["block"], done["expansion"], strict=True)))
    )
    heading = "Block, expansion" if several else "Expansion"
    return _region(
        "Mean test accuracy",
        f'<table><thead><tr><th scope="col" rowspan="2">{heading}</th>{groups}</tr>'
        f"<tr>{names}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>",
    )


def _mean_cell(table: pd.DataFrame, key: tuple[str, float, str, str], most: int) -> str:
    if key not in table.index:
        return '<td class="number"></td>'
    mean, deviation, count = table.loc[key]
    scatter = "" if pd.isna(deviation) else f' <span class="quiet">± {100 * deviation:.1f}</span>'
    seeds = f"<small>{_count(int(count), 'seed')}</small>" if count < most else ""
    return f'<td class="number">{100 * mean:.1f}{scatter}{seeds}</td>'


def _runs(frame: pd.DataFrame) -> str:
    axes = [name for name in design_axes(frame) if name in _ALWAYS or frame[name].nunique() > 1]
    run, status, *measured = _RUN_COLUMNS
    shown = [run, status, *axes, *measured]
    css = {name: ' class="number"' if is_numeric_dtype(frame[name]) else "" for name in shown}
    names = {
        name: escape(_RUN_COLUMNS.get(name, name if "." in name else name.capitalize()))
        for name in shown
    }
    head = "".join(f'<th scope="col"{css[name]}>{names[name]}</th>' for name in shown)
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td{css[name]}>{_run_cell(name, row[name])}</td>" for name in shown)
        + "</tr>"
        for row in frame[shown].to_dict("records")
    )
    return _region(
        "Runs",
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>",
        "scroll tall",
    )


def _run_cell(name: str, value: Any) -> str:
    if name == "run_id":
        return f"<code>{escape(value)}</code>"
    if name.endswith("accuracy") and not pd.isna(value):
        return f"{100 * value:.1f}"
    if name in ("test_loss", "seconds") and not pd.isna(value):
        return f"{value:.3f}" if name == "test_loss" else f"{value:.1f}"
    return escape(_value(value))


def _environment(environment: Mapping[str, Sequence[str]]) -> str:
    if not environment:
        return "<p>No environment was recorded.</p>"
    rows = "\n".join(
        f'<tr><th scope="row">{escape(key)}</th><td>{escape(_some(values))}</td></tr>'
        for key, values in environment.items()
    )
    return _region("Environment", f"<table><tbody>\n{rows}\n</tbody></table>")


def _some(values: Sequence[str]) -> str:
    rest = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return ", ".join(values[:3]) + rest


def _region(label: str, table: str, css: str = "scroll") -> str:
    # A region that scrolls must take the focus, or the keyboard cannot scroll it.
    return f'<div class="{css}" tabindex="0" role="region" aria-label="{label}">\n{table}\n</div>'


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def _value(value: Any) -> str:
    """Writes whole numbers without a point and with thousands apart; NaN is empty."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
