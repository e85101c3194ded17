"""The report's section on bottlenecks: what they keep over depth, and what that goes along with."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd

from mnv2_jax.analysis.associations import FEW_SEEDS, Association, written
from mnv2_jax.analysis.axes import varying
from mnv2_jax.analysis.html.markup import count, label_of, region
from mnv2_jax.analysis.means import Interval
from mnv2_jax.analysis.names import lower_name


def section(
    frame: pd.DataFrame,
    metric: str,
    figures: Mapping[str, str],
    associations: Mapping[str, Sequence[Association]],
) -> str:
    """Return the section as HTML; "" if no bottlenecks were measured.

    Args:
      frame: one row per run, as `tables.read_results` returns it.
      metric: the label of the measure that the associations are with.
      figures: the places of charts, by name.
      associations: by the name of the chart of their table.
    """
    if not associations:
        return ""
    parts = "\n".join(
        f"{figures.get(name, '')}\n{_associations(frame, metric, found)}"
        for name, found in associations.items()
    )
    return (
        '<section id="why" aria-labelledby="why-title">\n<h2 id="why-title">Why</h2>\n'
        f"{parts}\n</section>"
    )


def _associations(frame: pd.DataFrame, metric: str, found: Sequence[Association]) -> str:
    if not found:
        return "<p>No measure of bottlenecks differs between runs.</p>"
    rows = "\n".join(
        f'<tr><th scope="row">{escape(label_of(one.measure))}</th>'
        f"{_cells(one.rank_correlation)}{_cells(one.within)}"
        f'<td class="number">{one.runs:,}</td></tr>'
        for one in found
    )
    head = "".join(
        f'<th scope="col"{css}>{text}</th>'
        for text, css in (
            ("Measure, a mean over blocks or the least", ""),
            (f"Rank correlation with {escape(metric)}", ' class="number"'),
            ("95&nbsp;% interval", ' class="number"'),
            ("Within cells", ' class="number"'),
            ("95&nbsp;% interval", ' class="number"'),
            ("Runs", ' class="number"'),
        )
    )
    body = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    table = f'<table class="accuracies">{body}</table>'
    return f'{region("Associations", table)}\n<p class="about">{_words(frame, found)}</p>'


def _words(frame: pd.DataFrame, found: Sequence[Association]) -> str:
    seeds = max(one.seeds for one in found)
    words = ["An association, not a cause: rank correlation (Spearman 1904) over runs."]
    if names := [lower_name(axis) for axis in varying(frame)]:
        *others, last = names
        listed = f"{', '.join(others)} and {last}" if others else last
        words.append(
            f"Runs differ in {listed}, which may move both; within cells, runs differ in the seed "
            "alone."
        )
    words.append(f"Intervals resample {count(seeds, 'seed')}, each with all of its runs.")
    if 1 < seeds < FEW_SEEDS:
        words.append("With so few seeds they are too narrow.")
    return escape(" ".join(words))


def _cells(one: Interval) -> str:
    """Return the cells of a correlation and its interval, empty where there is none."""
    number = "" if np.isnan(one.estimate) else written(one.estimate)
    ends = "" if np.isnan(one.low) else f"[{written(one.low)}, {written(one.high)}]"
    return "".join(f'<td class="number">{text}</td>' for text in (number, ends))
