"""The charts of finished runs, each one specification for the report's page, SVG and PNG.

In all modules here, `frame` is a table of runs as `tables.read_results` returns it, `curves` one of
runs and epochs as `tables.read_curves` returns it, and `decided` are claims as `verdicts.decide`
returns them.
"""

import contextlib
import functools
import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pandas as pd

from mnv2_jax.analysis import axes, tables
from mnv2_jax.analysis.axes import COSTS, View, cost_view, default_view, finished
from mnv2_jax.analysis.block_tables import BlockTable
from mnv2_jax.analysis.charts.accuracy import accuracy
from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.analysis.charts.curves import learning_curves
from mnv2_jax.analysis.charts.depth import charts_of, depth
from mnv2_jax.analysis.charts.effects import effects
from mnv2_jax.analysis.charts.forest import forest
from mnv2_jax.analysis.charts.heatmap import heatmap
from mnv2_jax.analysis.charts.paper import paper_figure_6
from mnv2_jax.analysis.charts.place import place
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.names import axis_name, lower_name
from mnv2_jax.schema import PHASE

Makers = dict[str, Callable[[], Chart | None]]

_MOST_PAIRS = 10  # Of axes, of which readers choose one.
_MOST_METRICS = 16  # Likewise: side tables may have dozens.


def make_charts(
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    claims: Sequence[Claim | None],
    decided: Sequence[Mapping[str, Any]],
    blocks: Mapping[str, BlockTable] = MappingProxyType({}),
) -> dict[str, Chart]:
    """Make every chart that has a file of its own and something to show, by the file's name.

    Only runs that are done are drawn. Accuracy is over expansion, or over another axis if runs do
    not differ in expansion; and over each cost in which they differ. A chart that cannot be drawn
    is logged and left out. `blocks` are measures of blocks, as `block_tables.read` returns them.
    """
    frame = frame.reset_index(drop=True)  # Rows name runs by their positions.
    metric = tables.main_metric(frame)
    done = finished(frame, metric)
    view = default_view(done)
    makers: Makers = {
        "paired_differences": lambda: forest(frame, claims, decided),
        "effects": lambda: effects(frame, claims, decided),
        "place": lambda: place(frame, metric),
        **_first(_measures(frame, done, view)),
        **_costs(frame, done),
        "heatmap": lambda: heatmap(frame, view, metric),
        **_first(_interactions(frame, done, view)),
        "learning_curves": lambda: learning_curves(frame, curves),
        "paper_figure_6": lambda: paper_figure_6(frame, curves),
        **{
            key: functools.partial(depth, frame, *named) for key, named in charts_of(blocks).items()
        },
    }
    return _made(makers)


def make_choices(
    frame: pd.DataFrame, charts: Mapping[str, Chart], decided: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Chart]:
    """Make the charts that readers of the report may choose in the place of some of `charts`.

    They are every metric over every axis, and the interactions of every two axes. Of very many
    metrics, those of claims come first, and the last ones are left out.
    """
    if not charts:
        return {}
    frame = frame.reset_index(drop=True)
    done = finished(frame, tables.main_metric(frame))
    view = default_view(done)
    claimed = [str(row["metric"]) for row in decided]
    makers = _measures(frame, done, view, claimed) | _interactions(frame, done, view)
    return _made({name: make for name, make in makers.items() if name not in charts})


def _first(makers: Makers) -> Makers:
    return dict(itertools.islice(makers.items(), 1))


def _made(makers: Makers) -> dict[str, Chart]:
    charts = {}
    for name, make in makers.items():
        with logged_failure(name):
            if chart := make():
                charts[name] = chart
    return charts


def _measures(
    frame: pd.DataFrame, done: pd.DataFrame, main: View, claimed: Collection[str] = ()
) -> Makers:
    """Return makers of each metric over each axis, the main one over that of `main` first."""
    first = tables.main_metric(frame)
    split = f"{first.partition('_')[0]}_"
    names = [column.name for column in tables.measures(frame) if not column.of_machine]
    metrics = sorted(
        names, key=lambda name: (name != first, name not in claimed, not name.startswith(split))
    )[:_MOST_METRICS]
    rest = [axis for axis in axes.varying(done) if axis != main.x]
    views = [main, *(axes.view_over(done, axis) for axis in rest)]
    figure = f"accuracy_over_{main.x}"

    def make(metric: str, view: View) -> Chart | None:
        chart = accuracy(frame, view, metric)
        choice = {"Metric": tables.describe(frame, metric).label, "Axis": axis_name(view.x)}
        return chart and replace(chart, figure=figure, choice=choice)

    return {
        f"{metric.removeprefix(split)}_over_{view.x}": functools.partial(make, metric, view)
        for metric, view in itertools.product(metrics or [first], views)
    }


def _costs(frame: pd.DataFrame, done: pd.DataFrame) -> Makers:
    costs = [cost for cost in reversed(COSTS) if done[cost].nunique() > 1]

    def make(cost: str) -> Chart | None:
        chart = accuracy(frame, cost_view(done, cost), tables.main_metric(frame))
        figure, choice = f"accuracy_over_{costs[0]}", {"Cost": axis_name(cost)}
        return chart and replace(chart, figure=figure, choice=choice)

    return {f"accuracy_over_{cost}": functools.partial(make, cost) for cost in costs}


def _interactions(frame: pd.DataFrame, done: pd.DataFrame, main: View) -> Makers:
    """Return makers of the means by every two axes; phases and data sets are never averaged."""
    free = [axis for axis in axes.varying(done) if axis != "dataset"]
    # Phases differ by far more than anything within them.
    of_phases = main.x == PHASE
    pairs = sorted(itertools.combinations(free, 2), key=lambda pair: (main.x in pair) != of_phases)
    if len(free) == 2 and main.x in free and axes.is_number(done, main.x):
        return {}  # The main chart is that of the only pair.

    def make(pair: Sequence[str]) -> Chart | None:
        hue, x = sorted(pair, key=lambda axis: (axis == main.x, done[axis].nunique()))
        apart = [axis for axis in ("dataset", PHASE) if axis in axes.varying(done)]
        panels = tuple(axis for axis in apart if axis not in pair)
        chart = accuracy(frame, View(x, hue, panels), tables.main_metric(frame), joined=True)
        both = f"{lower_name(hue)} and {lower_name(x)}"
        heading, choice = f"Interaction of {both}", {"Axes": both[:1].upper() + both[1:]}
        return chart and replace(chart, heading=heading, figure="interaction", choice=choice)

    return {
        "_".join(["interaction", *(pair if number else ())]): functools.partial(make, pair)
        for number, pair in enumerate(pairs[:_MOST_PAIRS])
    }


@contextlib.contextmanager
def logged_failure(name: str) -> Iterator[None]:
    """Log any error in drawing a chart, in a line, and go on: nothing else depends on it."""
    try:
        yield
    except Exception as error:  # Drawing may raise anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        logging.getLogger(__name__).warning("figure %s: cannot be drawn: %.200s", name, reason)
