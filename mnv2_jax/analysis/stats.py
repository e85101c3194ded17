"""Paired differences between variants, and what a few seeds allow to be said about them.

The unit of replication is the seed. A grid holds several pairs of one seed (one for each
expansion, say), but they are not independent repetitions: the expansions are fixed by the
experimenter and would be the same in a repetition, while the seed, which sets initial weights,
data order and augmentation, is the sample. So the differences of one seed are averaged first,
and interval and test see one number per seed. Treating 144 runs as 72 repetitions would make the
interval too narrow whenever a seed is good or bad for all expansions at once.

All runs share one split of the data, so an interval speaks about other seeds on this split and
says nothing about other test images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special  # Not scipy.stats, which takes most of a second to import.

from mnv2_jax.analysis.tables import design_axes, is_metric

Scalar = str | float


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided interval, in the unit of the values; no interval is NaN, NaN."""

    estimate: float
    low: float
    high: float


def paired_differences(
    frame: pd.DataFrame,
    axis: str,
    better: Scalar,
    worse: Scalar,
    where: Mapping[str, Scalar],
    metric: str,
    covarying: Sequence[str] = (),
) -> pd.DataFrame:
    """Subtract, run by run, `metric` at `axis == worse` from `metric` at `axis == better`.

    Two runs are a pair when they agree in the seed and in every design axis other than `axis` and
    those in `covarying`.

    Args:
      frame: one row per run, as `read_results` returns it.
      axis: the column that is compared, such as `"projection"`.
      better: value of `axis` that is expected to score higher.
      worse: value of `axis` that is expected to score lower.
      where: column values that both runs of a pair must have.
      metric: the column of a metric, such as `test_accuracy`.
      covarying: columns in which the runs of a pair may differ as well.

    Returns:
      One row per pair: the shared columns, `seed`, `there`, whether both of its runs are in
      `frame`, and `difference`, which is NaN when one of the two runs is missing or did not finish.
      No rows if either value was never run.

    Raises:
      ValueError: a column does not exist, `metric` is not that of a metric, or two runs cannot be
          told apart by seed and design axes.
    """
    shared = _shared(frame, axis, covarying)
    _check_axes(frame, axis, *covarying)
    check_columns(frame, where, metric)
    frame = restricted(frame, where)
    values = measured(frame, metric)
    sides = []
    for side, value in (("better", better), ("worse", worse)):
        chosen = frame[axis] == value
        runs = frame.loc[chosen, shared].assign(**{side: values[chosen]})
        _check_unique(runs, shared, axis, value)
        sides.append(runs)
    if any(runs.empty for runs in sides):
        nothing = pd.DataFrame(columns=[*shared, "there", "difference"])
        return nothing.astype({"there": bool, "difference": float})
    # An outer join keeps a pair whose other half was never recorded, so that it is counted.
    pairs = sides[0].merge(sides[1], on=shared, how="outer", indicator="there")
    pairs["there"] = pairs["there"] == "both"
    pairs["difference"] = pairs.pop("better") - pairs.pop("worse")
    return pairs.sort_values(shared, ignore_index=True)


def differing(
    frame: pd.DataFrame,
    axis: str,
    better: Scalar,
    worse: Scalar,
    where: Mapping[str, Scalar],
    covarying: Sequence[str] = (),
) -> list[str]:
    """Return the columns that keep runs from being pairs of `paired_differences`.

    Returns:
      The shared columns in which those two runs differ that differ in the fewest; none if there is
      a pair, or a value that was never run.
    """
    shared = _shared(frame, axis, covarying)
    frame = restricted(frame, where)
    codes = np.column_stack([pd.factorize(frame[name])[0] for name in shared])
    sides = [codes[(frame[axis] == value).to_numpy(bool)] for value in (better, worse)]
    apart = (one != sides[1] for one in sides[0] if len(sides[1]))
    nearest = [every[every.sum(axis=1).argmin()] for every in apart]
    if not nearest:
        return []
    least = min(nearest, key=np.sum)
    return [name for name, differs in zip(shared, least, strict=True) if differs]


def paired_interactions(
    frame: pd.DataFrame,
    compared: tuple[str, Scalar, Scalar],
    by: tuple[str, Scalar, Scalar],
    where: Mapping[str, Scalar],
    metric: str,
) -> pd.DataFrame:
    """Subtract paired differences at one value of an axis from those at another.

    Args:
      frame: one row per run, as `read_results` returns it.
      compared: axis, better and worse, as for `paired_differences`.
      by: axis, and the values where the difference is subtracted from and which is subtracted.
      where: column values that all runs must have.
      metric: the column of a metric, such as `test_accuracy`.

    Returns:
      As `paired_differences` does: one row per two pairs that agree in seed and in all other axes;
      `there` is whether all four runs are in `frame`.

    Raises:
      ValueError: see `paired_differences`.
    """
    axis, more, less = by
    _check_axes(frame, axis)
    sides = [
        paired_differences(frame, *compared, {**where, axis: value}, metric).drop(columns=axis)
        for value in (more, less)
    ]
    shared = [name for name in sides[0] if name not in ("there", "difference")]
    both = sides[0].merge(sides[1], on=shared, how="outer", suffixes=("", "_less"))
    both["there"] = both["there"].eq(True) & both.pop("there_less").eq(True)
    both["difference"] -= both.pop("difference_less")
    return both


def restricted(frame: pd.DataFrame, where: Mapping[str, Scalar]) -> pd.DataFrame:
    """Return the runs whose columns have these values."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame


def measured(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Return a metric of each run; NaN of one that did not finish, or has no finite number."""
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
    """Average `difference` within each seed; seeds without a complete pair are left out.

    A seed that lost some of its pairs averages those it has left. Where the difference depends on
    the lost axis value this adds scatter between seeds, so the interval grows.

    Returns:
      float64 array of shape `(seeds,)`.
    """
    return pairs.dropna(subset="difference").groupby("seed")["difference"].mean().to_numpy(float)


def t_interval(values: np.ndarray, confidence: float) -> Interval:
    """Two-sided Student t interval for the mean, with `len(values) - 1` degrees of freedom.

    Args:
      values: shape `(n,)`, one value per seed.
      confidence: coverage, such as 0.95.
    """
    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, np.nan, np.nan)
    half = float(special.stdtrit(len(values) - 1, (1 + confidence) / 2)) * _standard_error(values)
    return Interval(mean, mean - half, mean + half)


def tost_p(values: np.ndarray, margin: float) -> float:
    """Two one-sided t tests (Schuirmann 1987): p for "the mean lies outside +-margin".

    `p < 0.05` exactly when the 90 % t interval lies inside +-margin.

    Args:
      values: shape `(n,)`, one mean difference per seed.
      margin: largest difference that counts as none, in the unit of `values`.

    Returns:
      p, or NaN for fewer than two seeds.
    """
    return max(exceeds_p(values, -margin), exceeds_p(-values, -margin))


def exceeds_p(values: np.ndarray, bound: float) -> float:
    """One-sided t test: p for "the mean is at most `bound`".

    `p < 0.05` exactly when the lower end of the 90 % t interval lies above `bound`.

    Args:
      values: shape `(n,)`, one mean difference per seed.
      bound: in the unit of `values`.

    Returns:
      p, or NaN for fewer than two seeds.
    """
    if len(values) < 2:
        return np.nan
    distance = float(np.mean(values)) - bound
    error = _standard_error(values)
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(special.stdtr(len(values) - 1, -distance / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of a family of tests (Holm 1979).

    Rejecting where the adjusted p is below 0.05 makes a mistake anywhere in the family in at most
    5 % of repetitions, however the tests depend on one another.

    Args:
      p_values: one per test. NaN is a test that could not be carried out: it stays NaN, and counts
          as one that rejects nothing, since the family was written before the runs.

    Returns:
      The adjusted p values, in the same order.
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
    """Return whether `values`, one or more, are equal but for rounding and so have no scatter."""
    return bool(np.ptp(values) <= 1e-12 * np.max(np.abs(values)))


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _shared(frame: pd.DataFrame, axis: str, covarying: Sequence[str]) -> list[str]:
    """Return the columns in which the two runs of a pair agree."""
    return [name for name in design_axes(frame) if name not in (axis, *covarying)] + ["seed"]


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
