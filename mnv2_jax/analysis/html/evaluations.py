"""The report's section on side tables: the means of measures of finished runs."""

import math
from collections.abc import Sequence
from html import escape

from mnv2_jax.analysis.evaluated import Evaluated, Measured
from mnv2_jax.analysis.html.markup import count, label_of, region
from mnv2_jax.analysis.names import full_name
from mnv2_jax.schema import Column

_MOST_ROWS = 24  # Of a table that does not scroll.
_COMMIT = 12  # Digits of a commit that are shown.


def section(tables: Sequence[Evaluated]) -> str:
    """Return the section as HTML, a table for each side table; "" without any."""
    if not tables:
        return ""
    parts = "\n".join(map(_table, tables))
    return (
        '<section id="evaluations" aria-labelledby="evaluations-title">\n'
        f'<h2 id="evaluations-title">Evaluations</h2>\n{parts}\n</section>'
    )


def _table(table: Evaluated) -> str:
    name = table.name if table.is_only else f"{table.name}, {table.dataset}"
    names = ["Mean", "95&nbsp;% interval"]
    names += [escape(full_name(table.axis, value)) for value in table.values]
    head = "".join(f'<th scope="col" class="number">{text}</th>' for text in names)
    rows = "\n".join(map(_row, table.measures))
    body = (
        f'<table class="means"><thead><tr><th scope="col">Measure</th>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table>"
    )
    css = "scroll tall" if len(table.measures) > _MOST_ROWS else "scroll"
    return (
        f"<h3>{escape(name)}</h3>\n{region(name, body, css)}\n"
        f'<p class="about">{escape(_words(table))}</p>'
    )


def _row(measured: Measured) -> str:
    column, mean = measured.column, measured.mean
    unit = f" ({column.unit})" if column.unit else ""
    ends = ""
    if not math.isnan(mean.low):
        ends = f"[{_number(column, mean.low)}, {_number(column, mean.high)}]"
    numbers = [
        _number(column, mean.estimate),
        ends,
        *(_number(column, value) for value in measured.by_value),
    ]
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    return f'<tr><th scope="row">{escape(label_of(column) + unit)}</th>{cells}</tr>'


def _number(column: Column, value: float) -> str:
    """Return a stored value as shown, without its unit; "" for none."""
    if math.isnan(value):
        return ""
    return f"{column.scale * value:z,.{column.digits}f}".replace("-", "−")


def _words(table: Evaluated) -> str:
    """Return the line that tells what a table is of."""
    about = {name: str(value) for name, value in table.about.items() if value}
    words = [f"Evaluator {about.get('evaluator', 'unknown')}"]
    of = about.get("data", table.dataset)
    words.append(f"{about['split']} images of {of}" if "split" in about else of)
    words.append(count(table.runs, "run"))
    if "device" in about:
        words.append(about["device"])
    if "commit" in about:
        dirty = " with uncommitted changes" if "dirty" in about else ""
        words.append(f"commit {about['commit'][:_COMMIT]}{dirty}")
    lines = [f"{', '.join(words)}."]
    if table.seeds > 1:
        seeds = count(table.seeds, "seed")
        lines.append(f"Intervals are over {seeds}, whose runs are averaged first.")
    if not table.is_whole:
        lines.append("Means are of seeds that all averaged runs have.")
    if table.anew:
        were = "run was" if table.anew == 1 else "runs were"
        lines.append(f"{table.anew:,} {were} trained anew since, and left out.")
    return " ".join(lines)
