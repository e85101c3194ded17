"""Paired differences between variants, with intervals and tests over seeds.

The unit of replication is the seed. A grid holds several pairs of one seed (one for each
expansion, say), but they are not independent repetitions: the expansions are fixed by the
experimenter and would be the same in a repetition, while the seed, which sets initial weights,
data order and augmentation, is the sample. So the differences of one seed are averaged first,
and interval and test see one number per seed. Treating 144 runs as 72 repetitions would make the
interval too narrow whenever a seed is good or bad for all expansions at once.

All runs share one split of the data, so an interval speaks about other seeds on this split, not
about other test images.

`frame` is a table of runs, as `tables.read_results` returns it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import special  # Not scipy.stats, which takes most of a second to import.

from mnv2_jax.analysis.tables import design_axes, is_metric
from mnv2_jax.values import text

Scalar = str | float


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided interval, in the unit of the values; without one, ends are NaN."""

    estimate: float
    low: float
    high: float


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
      `frame`, and `difference`, which is NaN when one of the two runs is missing or did not finish.
      No rows if either value was never run.

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
        runs = frame.loc[chosen, shared].assign(**{side: values[chosen]})
        _check_unique(runs, shared, axis, value)
        sides.append(runs)
    if any(runs.empty for runs in sides):
        nothing = pd.DataFrame(columns=[*shared, "recorded", "difference"])
        return nothing.astype({"recorded": bool, "difference": float})
    # An outer join keeps a pair whose other half was never recorded, so that it is counted.
    pairs = sides[0].merge(sides[1], on=shared, how="outer", indicator="recorded")
    pairs["recorded"] = pairs["recorded"] == "both"
    pairs["difference"] = pairs.pop("better") - pairs.pop("worse")
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


def paired_interactions(
    frame: pd.DataFrame, contrast: Contrast, by: Contrast, metric: str
) -> pd.DataFrame:
    """Subtract a contrast's paired differences at `by.worse` from those at `by.better`.

    Returns:
      One row per two pairs that agree in seed and in all other axes, as `paired_differences` does;
      `recorded` is whether all four runs are in `frame`.

    Raises:
      ValueError: see `paired_differences`.
    """
    _check_axes(frame, by.axis)
    sides = []
    for value in (by.better, by.worse):
        at = dataclasses.replace(contrast, where={**contrast.where, by.axis: value})
        sides.append(paired_differences(frame, at, metric).drop(columns=by.axis))
    shared = [name for name in sides[0] if name not in ("recorded", "difference")]
    both = sides[0].merge(sides[1], on=shared, how="outer", suffixes=("", "_less"))
    both["recorded"] = both["recorded"].eq(True) & both.pop("recorded_less").eq(True)
    both["difference"] -= both.pop("difference_less")
    return both


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


def t_interval(values: np.ndarray, confidence: float) -> Interval:
    """Two-sided Student t interval for the mean of `values`, `(seeds,)`."""
    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, np.nan, np.nan)
    half = float(special.stdtrit(len(values) - 1, (1 + confidence) / 2)) * _standard_error(values)
    return Interval(mean, mean - half, mean + half)


def tost_p(values: np.ndarray, margin: float) -> float:
    """Two one-sided t tests (Schuirmann 1987): p for "the mean lies outside +-margin".

    `p < 0.05` exactly when the 90 % t interval of `values`, `(seeds,)`, lies inside +-margin. NaN
    for fewer than two seeds.
    """
    return max(exceeds_p(values, -margin), exceeds_p(-values, -margin))


def exceeds_p(values: np.ndarray, bound: float) -> float:
    """One-sided t test: p for "the mean is at most `bound`".

    `p < 0.05` exactly when the lower end of the 90 % t interval of `values`, `(seeds,)`, lies above
    `bound`. NaN for fewer than two seeds.
    """
    if len(values) < 2:
        return np.nan
    distance = float(np.mean(values)) - bound
    error = _standard_error(values)
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(special.stdtr(len(values) - 1, -distance / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of a family of tests (Holm 1979), in the same order.

    Rejecting where the adjusted p is below 0.05 makes a mistake anywhere in the family in at most
    5 % of repetitions, however the tests depend on one another. NaN is a test that could not be
    carried out: it stays NaN, and counts as one that rejects nothing, since the family was written
    before the runs.
    """
    p = np.asarray(p_values, float)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(p), len(p) - len(order), -1)
    # None falls below that of a smaller p: where Holm's procedure stops, it stops for all behind.
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1)
    return adjusted.tolist()


def is_constant(values: np.ndarray) -> bool:
    """Return whether `values`, one or more, are equal up to rounding, and so have no scatter."""
    return bool(np.ptp(values) <= 1e-12 * np.max(np.abs(values)))


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


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
