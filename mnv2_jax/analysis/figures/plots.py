"""The figures of a report, drawn without pyplot and its global state."""

import contextlib
import functools
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.figures.accuracy import accuracy
from mnv2_jax.analysis.figures.axes import COSTS, View, cost_view, default_view, finished
from mnv2_jax.analysis.figures.cost import accuracy_over_cost
from mnv2_jax.analysis.figures.curves import learning_curves
from mnv2_jax.analysis.figures.forest import forest
from mnv2_jax.analysis.figures.paper import paper_figure_6
from mnv2_jax.analysis.figures.style import drawing

_DOTS_PER_INCH = 150


def make_figures(
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    claims: Sequence[Claim],
    decided: Sequence[Mapping[str, Any]],
) -> dict[str, Figure]:
    """Draws every figure of the report; one that has nothing to show says so.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      curves: one row per run and epoch, as `records.read_curves` returns it.
      claims: of any kind.
      decided: the same, as `verdicts.decide` returns them.

    Returns:
      Figures by file name without suffix. The first is accuracy over expansion, or over another
      axis if runs do not differ in expansion. Accuracy over a cost is left out if it is the same
      for all, `paper_figure_6` if the runs make no comparison of it, and one that cannot be
      drawn, see `or_told`. Only runs that are done are drawn.
    """
    done = finished(frame, "test_accuracy")
    view = default_view(done)
    with drawing():
        draws: dict[str, Callable[[], Figure | None]] = {
            f"accuracy_over_{view.x}": lambda: accuracy(frame, view),
            "paired_differences": lambda: forest(frame, claims, decided),
            **{
                f"accuracy_over_{cost}": functools.partial(
                    accuracy_over_cost, frame, cost_view(done, cost)
                )
                for cost in reversed(COSTS)
                if done[cost].nunique() != 1
            },
            "learning_curves": lambda: learning_curves(frame, curves),
            "paper_figure_6": lambda: paper_figure_6(frame, curves),
        }
        figures = {}
        for name, draw in draws.items():
            with or_told(name):
                if figure := draw():
                    figures[name] = _laid_out(figure)
        return figures


@contextlib.contextmanager
def or_told(name: str) -> Iterator[None]:
    """Tells of a figure that cannot be drawn, in a line: nothing else depends on it."""
    try:
        yield
    except Exception as error:  # What draws, and what it calls, raises what it likes.
        reason = " ".join(str(error).split()) or type(error).__name__
        logging.getLogger(__name__).warning("figure %s: cannot be drawn: %.200s", name, reason)


def draw_accuracy(frame: pd.DataFrame, view: View, metric: str) -> Figure:
    """Draws a measure over any axis, or over a cost with the Pareto front.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      view: what to show.
      metric: a measure.
    """
    with drawing():
        draw = accuracy_over_cost if view.x in COSTS else accuracy
        return _laid_out(draw(frame, view, metric))


def svg_text(figure: Figure, name: str) -> str:
    """Writes `figure` as SVG with text kept as text, the same bytes for the same content.

    Args:
      figure: made by `make_figures`.
      name: keeps the identifiers of two figures on one page apart.
    """
    buffer = io.BytesIO()
    # Ticks are made while drawing and read the style then.
    with drawing(name):
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    return buffer.getvalue().decode()


def png_bytes(figure: Figure) -> bytes:
    """Writes `figure` as PNG, the same bytes for the same content."""
    buffer = io.BytesIO()
    with drawing():
        figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def _laid_out(figure: Figure) -> Figure:
    """Lays the figure out once: every drawing would do it anew, with results a little apart."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")
    return figure
