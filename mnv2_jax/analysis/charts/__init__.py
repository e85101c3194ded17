"""The charts of finished runs: one specification of each, for the report's page, SVG and PNG."""

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
    """Make every chart of the report; those that have nothing to show are left out.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      curves: one row per run and epoch, as `records.read_curves` returns it.
      claims: of any kind.
      decided: the same, as `verdicts.decide` returns them.

    Returns:
      Charts by file name without suffix, claims first; accuracy is over expansion, or over another
      axis if runs do not differ in expansion. Accuracy over a cost is left out if it is the same
      for all, `paper_figure_6` if the runs make no comparison of it, and one that cannot be
      drawn, see `or_told`. Only runs that are done are drawn.
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
        with or_told(name):
            if chart := make():
                charts[name] = chart
    return charts


@contextlib.contextmanager
def or_told(name: str) -> Iterator[None]:
    """Tell of a chart that cannot be drawn, in a line: nothing else depends on it."""
    try:
        yield
    except Exception as error:  # What draws, and what it calls, raises what it likes.
        reason = " ".join(str(error).split()) or type(error).__name__
        logging.getLogger(__name__).warning("figure %s: cannot be drawn: %.200s", name, reason)
