"""Seeds that all cells of a design have, so that a mean over cells is not moved by some of them."""

from collections.abc import Mapping

import pandas as pd

from mnv2_jax.analysis.tables import design_axes


def recorded(frame: pd.DataFrame) -> dict[str, frozenset[int]]:
    """Return the seeds of each run's cell of the design, whether runs finished or not."""
    cells = [frame[axis] for axis in design_axes(frame)] or [pd.Series(0, frame.index)]
    numbers = frame.groupby(cells, dropna=False).ngroup()
    seeds = frame["seed"].groupby(numbers).agg(frozenset)
    return dict(zip(frame["run_id"], seeds.loc[numbers], strict=True))


def of_whole(runs: pd.DataFrame, seeds: Mapping[str, frozenset[int]]) -> pd.DataFrame:
    """Return the runs of those seeds that the cells of all of them have; all, if there are none.

    Args:
      runs: that a mean is of.
      seeds: as `recorded` returns them.
    """
    sets = {seeds[run] for run in runs["run_id"]}
    if len(sets) < 2 or not (common := frozenset.intersection(*sets)):
        return runs
    return runs[runs["seed"].isin(common)]
