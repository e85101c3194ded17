"""The charts of finished runs, each one specification for the report's page, SVG and PNG.

In all modules here, `frame` is a table of runs as `tables.read_results` returns it, `curves` one of
runs and epochs as `tables.read_curves` returns it, and `decided` are claims as `verdicts.decide`
returns them.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from mnv2_jax.analysis.axes import COSTS, cost_view, default_view, finished
from mnv2_jax.analysis.charts.accuracy import accuracy
from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.analysis.charts.curves import learning_curves
from mnv2_jax.analysis.charts.forest import forest
from mnv2_jax.analysis.charts.paper import paper_figure_6
from mnv2_jax.analysis.claims import Claim


def make_charts(
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    claims: Sequence[Claim],
    decided: Sequence[Mapping[str, Any]],
) -> dict[str, Chart]:
    """Make every chart of the report that has something to show, by file name without suffix.

    Only runs that are done are drawn. Accuracy is over expansion, or over another axis if runs do
    not differ in expansion; and over each cost in which they differ. A chart that cannot be drawn
    is logged and left out.
    """
    frame = frame.reset_index(drop=True)  # Rows name runs by their positions.
    done = finished(frame, "test_accuracy")
    view = default_view(done)
    makers: dict[str, Callable[[], Chart | None]] = {
        "paired_differences": lambda: forest(frame, claims, decided),
        f"accuracy_over_{view.x}": lambda: accuracy(frame, view),
        **{
            f"accuracy_over_{cost}": functools.partial(accuracy, frame, cost_view(done, cost))
            for cost in reversed(COSTS)
            if done[cost].nunique() > 1
        },
        "learning_curves": lambda: learning_curves(frame, curves),
        "paper_figure_6": lambda: paper_figure_6(frame, curves),
    }
    charts = {}
    for name, make in makers.items():
        with logged_failure(name):
            if chart := make():
                charts[name] = chart
    return charts


@contextlib.contextmanager
def logged_failure(name: str) -> Iterator[None]:
    """Log any error in drawing a chart, in a line, and go on: nothing else depends on it."""
    try:
        yield
    except Exception as error:  # Drawing may raise anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        logging.getLogger(__name__).warning("figure %s: cannot be drawn: %.200s", name, reason)
