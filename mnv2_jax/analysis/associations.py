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


class Association(NamedTuple):
    """The association of a measure with another one.

    Attributes:
      measure: the first of the two.
      rank_correlation: Spearman's over runs, with its 95 % interval.
      within: the same of what is left of both after the means of their cells, of runs that differ
        in the seed alone, are subtracted; NaN if there is nothing.
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
            of_name, of_metric = _without_means(runs, name), _without_means(runs, metric)
            within = rank_correlation(of_name, of_metric, seeds, 0.95)
            measure, count = describe(frame, name), len(np.unique(seeds))
            found.append(Association(measure, interval, within, len(runs), count))
    return found


def _without_means(runs: pd.DataFrame, name: str) -> np.ndarray:
    """Subtract the mean of runs that differ in the seed alone; rounding does not make ranks."""
    cells = [runs[axis] for axis in varying(runs)] or [pd.Series(0, runs.index)]
    left = runs[name] - runs.groupby(cells, dropna=False)[name].transform("mean")
    return left.round(9).to_numpy(float)
