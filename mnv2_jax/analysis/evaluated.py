"""Means of the measures of side tables, over all runs and by the values of an axis."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mnv2_jax import checksums, side_tables
from mnv2_jax.analysis import axes, seeds, tables
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.means import Interval, t_interval
from mnv2_jax.schema import Column
from mnv2_jax.side_tables import SideTable

_MOST_VALUES = 6  # Of the axis; more columns would not be read side by side.


class Measured(NamedTuple):
    """A measure of a side table.

    Attributes:
      column: its description.
      mean: over seeds, whose runs are averaged first, with its 95 % t interval.
      by_value: the mean for each value of the axis; NaN where no run has the measure.
    """

    column: Column
    mean: Interval
    by_value: Sequence[float]


class Evaluated(NamedTuple):
    """The measures of a side table for the runs of one data set.

    Attributes:
      name: of the side table.
      about: how they were measured; see `mnv2_jax.side_tables.SideTable`.
      dataset: that the runs were trained on.
      is_only: whether the side table has no runs of another data set.
      runs: the number of runs that means are of, pretraining left out.
      seeds: the number of seeds that the means of all runs are of.
      is_whole: whether no mean leaves out seeds that some of its cells lack.
      anew: the number of runs that were trained anew since, and are left out.
      axis: whose values have means of their own; "" if there is none.
      values: of the axis, in order.
      measures: those of which any run has a value.
    """

    name: str
    about: Mapping[str, Any]
    dataset: str
    is_only: bool
    runs: int
    seeds: int
    is_whole: bool
    anew: int
    axis: str
    values: Sequence[Any]
    measures: Sequence[Measured]


def read(
    workdir: Path, frame: pd.DataFrame, claims: Iterable[Claim | None], but: Container[str] = ()
) -> list[Evaluated]:
    """Return the measures of the side tables of a workdir, by name and data set.

    Means have the seeds that all cells of the design have, as those of charts. Pretraining, which
    is of other classes, and runs that were trained anew since they were measured are left out.

    Args:
      workdir: the folder.
      frame: its runs, as `tables.read_results` returns them.
      claims: the first of a table's measures names the axis whose values have means of their own;
        without one, charts do.
      but: names of side tables to leave out.

    Raises:
      ValueError: a side table is damaged.
    """
    try:
        found = [table for table in side_tables.read_all(workdir) if table.name not in but]
    except checksums.DamagedError as error:
        raise ValueError(f"{error}; experiments.evaluate writes it anew") from None
    made, recorded = [claim for claim in claims if claim], seeds.recorded(frame)
    return [
        evaluated
        for table in found
        for evaluated in _evaluated(workdir, frame, table, made, recorded)
    ]


def _evaluated(
    workdir: Path,
    frame: pd.DataFrame,
    table: SideTable,
    claims: Sequence[Claim],
    recorded: Mapping[str, frozenset[int]],
) -> Iterator[Evaluated]:
    names = [name for name in table.columns if name in frame]
    done = (frame["status"] == "done") & frame[names].notna().any(axis=1)
    measured = axes.without_pretraining(frame[done])
    of_table = frame[frame["run_id"].isin(list(table.rows))]
    old = [not side_tables.is_current(workdir, table, run) for run in of_table["run_id"]]
    anew = of_table.loc[old, "dataset"].value_counts()
    for dataset, runs in measured.groupby("dataset", sort=False):  # They are never averaged.
        axis = _axis(frame, runs, _claimed(frame, table, claims))
        values = axes.values(runs, axis) if axis else []
        if axis and axes.is_number(runs, axis):
            values.sort()
        parts = [runs, *(runs[runs[axis] == value] for value in values)]
        whole = [seeds.of_whole(part, recorded) for part in parts]
        by_seed = [part.groupby("seed")[names].mean() for part in whole]
        yield Evaluated(
            name=table.name,
            about=table.about,
            dataset=str(dataset),
            is_only=measured["dataset"].nunique() == 1,
            runs=len(runs),
            seeds=len(by_seed[0]),
            is_whole=[*map(len, whole)] == [*map(len, parts)],
            anew=int(anew.get(dataset, 0)),
            axis=axis,
            values=values,
            measures=[
                Measured(
                    tables.describe(frame, name),
                    t_interval(by_seed[0][name].dropna().to_numpy(float), 0.95),
                    [float(means[name].mean()) for means in by_seed[1:]],
                )
                for name in names
                if runs[name].notna().any()
            ],
        )


def _claimed(frame: pd.DataFrame, table: SideTable, claims: Sequence[Claim]) -> list[str]:
    """Return the fields that the first claim about a measure of a table compares, as columns."""
    about = (claim.compared() for claim in claims if claim.metric.startswith(f"{table.name}/"))
    return [tables.column(frame, field) for cell in next(about, ())[:1] for field in cell]


def _axis(frame: pd.DataFrame, runs: pd.DataFrame, claimed: Sequence[str]) -> str:
    """Return the first axis that has a few values, those of claims before those of charts."""
    view = axes.default_view(runs)
    known = tables.design_axes(frame)
    few = (
        axis
        for axis in (*claimed, *view.shown)
        if axis in known and 1 < runs[axis].nunique() <= _MOST_VALUES
    )
    return next(few, "")
