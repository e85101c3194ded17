"""The report's table of mean accuracies: every axis that the runs differ in is told apart."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis.axes import default_view
from mnv2_jax.analysis.html.design import Axis
from mnv2_jax.analysis.html.markup import count, region

_MOST_COLUMNS = 8


def table(axes: Sequence[Axis], frame: pd.DataFrame) -> str:
    """Mean test accuracy of each cell of the design, over its seeds, as HTML.

    The axes that charts show by panel and colour head the columns, where those are few enough; all
    others have a column of their own that names their value in each row.

    Args:
      axes: in which the runs differ.
      frame: one row per run, as `records.read_results` returns it.
    """
    done = (frame["status"] == "done") & np.isfinite(frame["test_accuracy"])
    if not done.any():
        return "<p>No run finished.</p>"
    design = {axis.name: axis for axis in axes if axis.name != "seed"}
    view = default_view(frame)
    across = [design[name] for name in (*view.panels[:1], view.hue) if name in design]
    if np.prod([len(axis.values) for axis in across], dtype=int) > _MOST_COLUMNS:
        across = []
    down = [axis for axis in design.values() if axis not in across]
    # Positions of values stand for the values: they sort as values are shown.
    codes = {name: axis.codes for name, axis in design.items()}
    runs = pd.DataFrame(codes, index=frame.index)
    runs["seed"], runs["accuracy"] = frame["seed"], 100 * frame["test_accuracy"]
    runs["every"] = 0  # so that there is something to group by where nothing varies
    runs = runs[done]
    cells = {key: _Cell(values) for key, values in _groups(runs, [*down, *across])}
    rows = list(dict.fromkeys(key[: len(down)] for key in cells))
    columns = sorted(dict.fromkeys(key[len(down) :] for key in cells))
    most = max(cell.seeds for cell in cells.values())
    body = "\n".join(
        "<tr>"
        + "".join(_value(axis, code) for axis, code in zip(down, row, strict=True))
        + "".join(_mean(cells.get((*row, *column)), most) for column in columns)
        + "</tr>"
        for row in rows
    )
    head = _head(down, across, columns)
    css = "scroll tall" if len(rows) > 24 else "scroll"
    words = (
        "Per cent, mean over seeds ± standard deviation between seeds, of all finished runs "
        "whatever the filters. Nothing else is averaged over."
    )
    return f'<p class="quiet">{words}</p>\n' + region(
        "Mean test accuracy",
        f'<table class="means"><thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table>',
        css,
    )


class _Cell:
    """The runs that agree in all but the seed."""

    def __init__(self, accuracies: pd.Series) -> None:
        self.mean = float(accuracies.mean())
        self.deviation = float(accuracies.std())
        self.seeds = len(accuracies)


def _groups(runs: pd.DataFrame, axes: Sequence[Axis]) -> list[tuple[tuple[int, ...], pd.Series]]:
    grouped = runs.groupby(["every", *(axis.name for axis in axes)])["accuracy"]
    return [(key[1:], values) for key, values in _with_tuples(grouped)]


def _with_tuples(grouped: Any) -> list[tuple[tuple[int, ...], pd.Series]]:
    return [(key if isinstance(key, tuple) else (key,), values) for key, values in grouped]


def _head(down: Sequence[Axis], across: Sequence[Axis], columns: Sequence[tuple[int, ...]]) -> str:
    depth = max(1, len(across))
    names = "".join(
        f'<th scope="col" rowspan="{depth}"{_css(axis)}>{escape(axis.label)}</th>' for axis in down
    )
    if not across:
        return f'<tr>{names}<th scope="col" class="number">Test accuracy</th></tr>'
    last = "".join(
        f'<th scope="col" class="number">{escape(across[-1].titles[column[-1]])}</th>'
        for column in columns
    )
    if depth == 1:
        return f"<tr>{names}{last}</tr>"
    spans: dict[int, int] = {}
    for first, _ in columns:
        spans[first] = spans.get(first, 0) + 1
    groups = "".join(
        f'<th scope="colgroup" class="group" colspan="{span}">'
        f"{escape(across[0].titles[first])}</th>"
        for first, span in spans.items()
    )
    return f"<tr>{names}{groups}</tr>\n<tr>{last}</tr>"


def _value(axis: Axis, code: int) -> str:
    return f'<th scope="row"{_css(axis)}>{escape(axis.labels[code])}</th>'


def _css(axis: Axis) -> str:
    return ' class="value"' if axis.numeric else ""


def _mean(cell: _Cell | None, most: int) -> str:
    if cell is None:
        return '<td class="number"></td>'
    scatter = (
        "" if np.isnan(cell.deviation) else f' <span class="quiet">± {cell.deviation:.1f}</span>'
    )
    seeds = f"<small>{count(cell.seeds, 'seed')}</small>" if cell.seeds < most else ""
    return f'<td class="number">{cell.mean:.1f}{scatter}{seeds}</td>'
