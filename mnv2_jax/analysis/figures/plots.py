"""The figures of a report, drawn without pyplot and its global state."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.figures.accuracy import accuracy
from mnv2_jax.analysis.figures.axes import COSTS, View, cost_view, default_view, finished
from mnv2_jax.analysis.figures.cost import accuracy_over_cost
from mnv2_jax.analysis.figures.curves import learning_curves
from mnv2_jax.analysis.figures.forest import forest
from mnv2_jax.analysis.figures.paper import paper_figure_6
from mnv2_jax.analysis.figures.style import STYLE

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
      claims: made by the functions of `mnv2_jax.analysis.claims`.
      decided: the same, as `verdicts.decide` returns them.

    Returns:
      Figures by file name without suffix. The first is accuracy over expansion, or over another
      axis if runs do not differ in expansion. Accuracy over a cost is left out if it is the same
      for all, `paper_figure_6` if the runs make no comparison of it. Only runs that are done are
      drawn.
    """
    done = finished(frame, "test_accuracy")
    view = default_view(done)
    with matplotlib.rc_context(STYLE):
        figures = {
            f"accuracy_over_{view.x}": accuracy(frame, view),
            "paired_differences": forest(frame, claims, decided),
            **{
                f"accuracy_over_{cost}": accuracy_over_cost(frame, cost_view(done, cost))
                for cost in reversed(COSTS)
                if done[cost].nunique() != 1
            },
            "learning_curves": learning_curves(frame, curves),
        }
        if beside_the_paper := paper_figure_6(frame, curves):
            figures["paper_figure_6"] = beside_the_paper
        return {name: _laid_out(figure) for name, figure in figures.items()}


def draw_accuracy(frame: pd.DataFrame, view: View, metric: str) -> Figure:
    """Draws `metric` over any axis, or over a cost with the Pareto front.

    Args:
      frame: one row per run, as `records.read_results` returns it.
      view: what to show.
      metric: one of `records.ACCURACIES`.
    """
    with matplotlib.rc_context(STYLE):
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
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    return buffer.getvalue().decode()


def png_bytes(figure: Figure) -> bytes:
    """Writes `figure` as PNG, the same bytes for the same content."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def _laid_out(figure: Figure) -> Figure:
    """Lays the figure out once: every drawing would do it anew, with results a little apart."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")
    return figure
