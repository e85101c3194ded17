"""Associations over runs: the rank correlations of a side table's measures with accuracy."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from mnv2_jax.analysis.axes import finished, varying, without_pretraining
from mnv2_jax.analysis.means import Interval
from mnv2_jax.analysis.resampling import rank_correlation
from mnv2_jax.analysis.tables import describe
from mnv2_jax.schema import Column

FEW_SEEDS = 6
"""Seeds below which an interval of resamples is much too narrow."""


class Association(NamedTuple):
    """The association of a measure with another one.

    Attributes:
      measure: the first of the two.
      rank_correlation: Spearman's over runs, with its 95 % interval.
      within: the same of ranks within cells, of runs that differ in the seed alone; NaN if there
        is nothing to rank.
      runs: the number of runs that have both.
      seeds: the number of their seeds.
    """

    measure: Column
    rank_correlation: Interval
    within: Interval
    runs: int
    seeds: int


def associations(frame: pd.DataFrame, names: Iterable[str], metric: str) -> list[Association]:
    """Return the association of each measure with a metric, where both of them differ.

    Args:
      frame: the runs.
      names: columns of measures.
      metric: the column that they are associated with.
    """
    done = without_pretraining(finished(frame, metric))
    found = []
    for name in names:
        runs = done[np.isfinite(done[name])]
        x, y = runs[name].to_numpy(float), runs[metric].to_numpy(float)
        seeds = runs["seed"].to_numpy()
        interval = rank_correlation(x, y, seeds, 0.95)
        if not np.isnan(interval.estimate):
            of_name, of_metric = _ranks_within(runs, name), _ranks_within(runs, metric)
            within = rank_correlation(of_name, of_metric, seeds, 0.95)
            measure, count = describe(frame, name), len(np.unique(seeds))
            found.append(Association(measure, interval, within, len(runs), count))
    return found


def _ranks_within(runs: pd.DataFrame, name: str) -> np.ndarray:
    """Return each run's rank within its cell, from -1/2 to 1/2, so that cells weigh the same."""
    cells = [runs[axis] for axis in varying(runs)] or [pd.Series(0, runs.index)]
    # Rounding errors are no differences.
    groups = runs[name].round(9).groupby(cells, dropna=False)
    return ((groups.rank() - 0.5) / groups.transform("size") - 0.5).to_numpy(float)


def written(correlation: float) -> str:
    """Return a correlation as text."""
    return f"{correlation:+.2f}".replace("-", "−")
