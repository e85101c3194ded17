"""Paired differences between variants.

The unit of replication is the seed. A grid holds several pairs of one seed (one for each
expansion, say), but they are not independent repetitions: the expansions are fixed by the
experimenter and would be the same in a repetition, while the seed, which sets initial weights,
data order and augmentation, is the sample. So the differences of one seed are averaged first,
and interval and test see one number per seed. Treating 144 runs as 72 repetitions would make the
interval too narrow whenever a seed is good or bad for all expansions at once.

`frame` is a table of runs, as `tables.read_results` returns it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mnv2_jax.analysis.tables import design_axes, is_metric
from mnv2_jax.values import text

Scalar = str | float

Terms = tuple[tuple[str, float], ...]
"""The runs that a difference is made of, by id, each with its sign or weight."""

OF_PAIRS = ("recorded", "difference", "terms")
"""The columns of differences that are neither the seed nor an axis."""


@dataclass(frozen=True)
class Contrast:
    """Two values of an axis, whose runs are compared pair by pair, better minus worse.

    Both runs of a pair have the values of `where`. They may differ in the axes `covarying`.
    """

    axis: str
    better: Scalar
    worse: Scalar
    where: Mapping[str, Scalar] = field(default_factory=dict)
    covarying: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{text(self.worse)} to {text(self.better)}"


def paired_differences(frame: pd.DataFrame, contrast: Contrast, metric: str) -> pd.DataFrame:
    """Subtract, run by run, the metric at the worse value from that at the better one.

    Two runs are a pair when they agree in the seed and in every design axis other than the
    contrast's and its covarying ones.

    Returns:
      One row per pair: the shared columns, `seed`, `recorded`, whether both of its runs are in
      `frame`, `difference`, which is NaN when one of the two runs is missing or did not finish,
      and its `terms`. No rows if either value was never run.

    Raises:
      ValueError: a column does not exist, `metric` is not that of a metric, or two runs cannot be
          told apart by seed and design axes.
    """
    axis, shared = contrast.axis, _shared(frame, contrast)
    _check_axes(frame, axis, *contrast.covarying)
    check_columns(frame, contrast.where, metric)
    frame = restricted(frame, contrast.where)
    values = measured(frame, metric)
    sides = []
    for side, value in (("better", contrast.better), ("worse", contrast.worse)):
        chosen = frame[axis] == value
        ids = frame.loc[chosen, "run_id"] if "run_id" in frame else ""
        runs = frame.loc[chosen, shared].assign(**{side: values[chosen], f"{side}_run": ids})
        _check_unique(runs, shared, axis, value)
        sides.append(runs)
    if any(runs.empty for runs in sides):
        nothing = pd.DataFrame(columns=[*shared, *OF_PAIRS])
        return nothing.astype({"recorded": bool, "difference": float})
    # An outer join keeps a pair whose other half was never recorded, so that it is counted.
    pairs = sides[0].merge(sides[1], on=shared, how="outer", indicator="recorded")
    pairs["recorded"] = pairs["recorded"] == "both"
    pairs["difference"] = pairs.pop("better") - pairs.pop("worse")
    runs_of = zip(pairs.pop("better_run"), pairs.pop("worse_run"), strict=True)
    pairs["terms"] = [((better, 1), (worse, -1)) for better, worse in runs_of]
    return pairs.sort_values(shared, ignore_index=True)


def differing(frame: pd.DataFrame, contrast: Contrast) -> list[str]:
    """Return the columns that keep runs of the two values from being pairs; both need runs.

    They are those in which the two most similar runs differ; none if there is a pair.
    """
    shared = _shared(frame, contrast)
    frame = restricted(frame, contrast.where)
    codes = np.column_stack([pd.factorize(frame[name])[0] for name in shared])
    better, worse = (
        codes[(frame[contrast.axis] == value).to_numpy(bool)]
        for value in (contrast.better, contrast.worse)
    )
    nearest = [worse[(worse != run).sum(axis=1).argmin()] != run for run in better]
    least = min(nearest, key=lambda differs: int(differs.sum()))
    return [name for name, differs in zip(shared, least, strict=True) if differs]


def weighted_sums(
    frame: pd.DataFrame,
    cells: Sequence[Mapping[str, Scalar]],
    weights: Sequence[float],
    where: Mapping[str, Scalar],
    metric: str,
) -> pd.DataFrame:
    """Add up the metric of runs of several cells, each with its weight.

    Args:
      frame: the runs.
      cells: values of columns, the same columns in each; one run of each cell goes into a sum.
      weights: of the cells.
      where: values of columns that restrict the runs.
      metric: the column.

    Returns:
      One row per combination of the other design axes and the seed, as `paired_differences`
      returns; no rows if a cell was never run.

    Raises:
      ValueError: see `paired_differences`.
    """
    _check_axes(frame, *cells[0])
    check_columns(frame, where, metric)
    frame = restricted(frame, where)
    values = measured(frame, metric)
    shared = [*(name for name in design_axes(frame) if name not in cells[0]), "seed"]
    both: pd.DataFrame | None = None
    for cell, weight in zip(cells, weights, strict=True):
        chosen = restricted(frame, cell)
        found = {"value": weight * values[chosen.index], "found": True}
        runs = chosen[shared].assign(run=chosen.get("run_id", ""), **found)
        if runs.empty:
            nothing = pd.DataFrame(columns=[*shared, *OF_PAIRS])
            return nothing.astype({"recorded": bool, "difference": float})
        _check_unique(runs, shared, ", ".join(cell), ", ".join(map(text, cell.values())))
        runs["run"] = [((run, weight),) for run in runs["run"]]
        if both is None:
            both = runs
            continue
        both = both.merge(runs, on=shared, how="outer", suffixes=("", "_added"))
        both["found"] = both["found"].eq(True) & both.pop("found_added").eq(True)
        both["value"] += both.pop("value_added")
        terms = zip(both["run"], both.pop("run_added"), strict=True)
        both["run"] = [_joined(one, other) for one, other in terms]
    assert both is not None  # Claims have two or more cells.
    names = {"value": "difference", "run": "terms", "found": "recorded"}
    both = both.rename(columns=names)[[*shared, *OF_PAIRS]]
    return both.astype({"recorded": bool}).sort_values(shared, ignore_index=True)


def _joined(terms: Terms | float, others: Terms | float) -> Terms:
    """Return the terms of a sum; those of one that is missing are NaN."""
    if isinstance(terms, float) or isinstance(others, float):
        return ()
    return (*terms, *others)


def restricted(frame: pd.DataFrame, where: Mapping[str, Scalar]) -> pd.DataFrame:
    """Return the runs that have these values."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame


def measured(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Return a metric of each run; NaN if it did not finish, or the metric is not finite."""
    return frame[metric].where((frame["status"] == "done") & np.isfinite(frame[metric]))


def check_columns(frame: pd.DataFrame, where: Mapping[str, Scalar], metric: str) -> None:
    """Refuse a comparison of columns that the results lack.

    Raises:
      ValueError: `metric` is not the column of a metric, or a column does not exist.
    """
    if metric not in frame or not is_metric(frame, metric):
        known = [name for name in frame if is_metric(frame, name)]
        raise ValueError(f"metric {metric!r} is no metric of these results; must be one of {known}")
    for column in where:
        if column not in frame:
            raise ValueError(
                f"where names {column!r}, which is no column; must be one of {list(frame.columns)}"
            )
    missing = [name for name in ("seed", "status") if name not in frame]
    if missing:
        raise ValueError(f"results lack the columns {missing}; has {list(frame.columns)}")


def seed_means(pairs: pd.DataFrame) -> np.ndarray:
    """Average `difference` within each seed that has a complete pair, `(seeds,)`.

    A seed that lost some of its pairs averages those it has left. Where the difference depends on
    the lost axis value this adds scatter between seeds, so the interval grows.
    """
    return pairs.dropna(subset="difference").groupby("seed")["difference"].mean().to_numpy(float)


def _shared(frame: pd.DataFrame, contrast: Contrast) -> list[str]:
    """Return the columns in which the two runs of a pair agree."""
    free = (contrast.axis, *contrast.covarying)
    return [*(name for name in design_axes(frame) if name not in free), "seed"]


def _check_axes(frame: pd.DataFrame, *axes: str) -> None:
    known = design_axes(frame)
    for axis in axes:
        if axis not in known:
            raise ValueError(f"axis {axis!r} is not a column to compare; must be one of {known}")


def _check_unique(runs: pd.DataFrame, shared: list[str], axis: str, value: Scalar) -> None:
    twice = runs[runs.duplicated(shared)]
    if not twice.empty:
        example = ", ".join(f"{name}={twice.iloc[0][name]}" for name in shared)
        raise ValueError(
            f"two runs with {axis}={value}, {example}: pairs are ambiguous; expected every run once"
        )
