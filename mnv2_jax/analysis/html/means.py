"""The report's table of mean accuracies, with a cell for each combination of values of the axes."""

from collections import Counter
from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from mnv2_jax.analysis.axes import default_view
from mnv2_jax.analysis.html.design import Axis
from mnv2_jax.analysis.html.markup import count, region
from mnv2_jax.analysis.tables import describe, main_metric

_MOST_COLUMNS = 8


def table(axes: Sequence[Axis], frame: pd.DataFrame) -> str:
    """Return the mean of `tables.main_metric` over seeds of each cell of the design, as HTML.

    The axes that charts show by panel and colour head the columns, if these are few enough; each
    other axis has a column with its value in each row.

    Args:
      axes: in which the runs differ.
      frame: one row per run, as `tables.read_results` returns it.
    """
    metric = main_metric(frame)
    name = describe(frame, metric).label
    done = (frame["status"] == "done") & np.isfinite(frame[metric])
    if not done.any():
        return "<p>No run finished.</p>"
    design = {axis.name: axis for axis in axes if axis.name != "seed"}
    view = default_view(frame)
    across = [design[name] for name in (*view.panels[:1], view.hue) if name in design]
    if np.prod([len(axis.values) for axis in across], dtype=int) > _MOST_COLUMNS:
        across = []
    down = [axis for axis in design.values() if axis not in across]
    # By positions of values, which sort as values are shown.
    cells: dict[tuple[int, ...], list[float]] = {}
    for run, accuracy in enumerate(frame[metric].tolist()):
        if done.iloc[run]:
            key = tuple(axis.codes[run] for axis in (*down, *across))
            cells.setdefault(key, []).append(100 * accuracy)
    rows = sorted({key[: len(down)] for key in cells})
    columns = sorted({key[len(down) :] for key in cells})
    most = max(map(len, cells.values()))
    body = "\n".join(
        "<tr>"
        + "".join(_value(axis, code) for axis, code in zip(down, row, strict=True))
        + "".join(_mean(cells.get((*row, *column), []), most) for column in columns)
        + "</tr>"
        for row in rows
    )
    head = _head(name, down, across, columns)
    css = "scroll tall" if len(rows) > 24 else "scroll"
    words = (
        "Per cent, mean over seeds ± standard deviation between seeds, of all finished runs "
        "whatever the filters. Nothing else is averaged over."
    )
    table = region(
        f"Mean {name.lower()}",
        f'<table class="means"><thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table>',
        css,
    )
    rows_of = count(len(rows), "row")
    return f'<p class="quiet">{words}</p>\n<details><summary>{rows_of}</summary>\n{table}</details>'


def _head(
    name: str, down: Sequence[Axis], across: Sequence[Axis], columns: Sequence[tuple[int, ...]]
) -> str:
    depth = max(1, len(across))
    names = "".join(
        f'<th scope="col" rowspan="{depth}"{_css(axis)}>{escape(axis.label)}</th>' for axis in down
    )
    if not across:
        return f'<tr>{names}<th scope="col" class="number">{escape(name)}</th></tr>'
    last = "".join(
        f'<th scope="col" class="number">{escape(across[-1].titles[column[-1]])}</th>'
        for column in columns
    )
    if depth == 1:
        return f"<tr>{names}{last}</tr>"
    groups = "".join(
        f'<th scope="colgroup" class="group" colspan="{span}">'
        f"{escape(across[0].titles[first])}</th>"
        for first, span in Counter(first for first, _ in columns).items()
    )
    return f"<tr>{names}{groups}</tr>\n<tr>{last}</tr>"


def _value(axis: Axis, code: int) -> str:
    return f'<th scope="row"{_css(axis)}>{escape(axis.labels[code])}</th>'


def _css(axis: Axis) -> str:
    return ' class="value"' if axis.numeric else ""


def _mean(accuracies: Sequence[float], most: int) -> str:
    if not accuracies:
        return '<td class="number"></td>'
    number = len(accuracies)
    deviation = f"± {np.std(accuracies, ddof=1):.1f}" if number > 1 else ""
    scatter = f' <span class="quiet">{deviation}</span>' if deviation else ""
    seeds = f"<small>{count(number, 'seed')}</small>" if number < most else ""
    return f'<td class="number">{np.mean(accuracies):.1f}{scatter}{seeds}</td>'
