"""The runs that a claim speaks of, and what they differ by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mnv2_jax.analysis import stats, tables, units
from mnv2_jax.analysis.decisions import Comparison
from mnv2_jax.analysis.stats import Scalar
from mnv2_jax.schema import PHASE, PRETRAINING
from mnv2_jax.side_tables import is_of_side_table
from mnv2_jax.values import text


@dataclass(frozen=True)
class Contrast:
    """Two values of a field, whose runs are compared pair by pair.

    Attributes:
      axis: the field of the config.
      better: the value of `axis` that is subtracted from.
      worse: the value of `axis` that is subtracted.
      where: values of fields that both runs of a pair have, besides those of the claim.
      covarying: fields that the runs of a pair may differ in as well.
    """

    axis: str
    better: Scalar
    worse: Scalar
    where: Mapping[str, Scalar] = field(default_factory=dict)
    covarying: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{text(self.worse)} to {text(self.better)}"


class Runs:
    """The runs that a claim speaks of. Fields of the config are found as columns.

    Runs of pretraining are tested on other classes: they are left out unless the claim names the
    phase.

    Attributes:
      every: one row per run, as `records.read_results` returns it.
      frame: those that the claim speaks of, before `where`.
      where: values that the claim restricts columns to.
      metric: the column that the claim is about.
      measure: how that is called and written.
    """

    def __init__(
        self,
        every: pd.DataFrame,
        where: Mapping[str, Scalar],
        metric: str,
        compared: Sequence[str],
    ) -> None:
        """Args: see the class; `compared` are the fields that the claim compares."""
        if is_of_side_table(metric) and metric not in every:  # It may be written later.
            every = every.assign(**{metric: np.nan})
        self.every = every
        self.where = self._columns(where)
        self.metric = metric
        self.measure = units.measure_of(tables.describe(every, metric))
        named = {*self.where, *map(self.column, compared)}
        leave_out = PHASE in every and PHASE not in named
        self.frame = every[every[PHASE] != PRETRAINING] if leave_out else every

    def column(self, name: str) -> str:
        """Return the column of a field of the config."""
        return tables.column(self.every, name)

    def contrast(self, one: Contrast) -> Contrast:
        """Return a contrast by columns, restricted by the claim's `where` too."""
        covarying = map(self.column, one.covarying)
        return Contrast(
            self.column(one.axis),
            one.better,
            one.worse,
            {**self.where, **self._columns(one.where)},
            # A field of the config that no runs differ in has no column.
            tuple(column for column in covarying if column in self.every or "." not in column),
        )

    def pairs(self, one: Contrast) -> pd.DataFrame:
        """Return the pairs of a contrast; see `stats.paired_differences`.

        Raises:
          ValueError: the results lack a column that the claim names.
        """
        found = self.contrast(one)
        return stats.paired_differences(
            self.frame,
            axis=found.axis,
            better=found.better,
            worse=found.worse,
            where=found.where,
            metric=self.metric,
            covarying=found.covarying,
        )

    def interactions(self, one: Contrast, by: Contrast) -> pd.DataFrame:
        """Return differences of differences; see `stats.paired_interactions`.

        Raises:
          ValueError: the results lack a column that the claim names.
        """
        axes = map(self.contrast, (one, by))
        compared, other = ((found.axis, found.better, found.worse) for found in axes)
        return stats.paired_interactions(self.frame, compared, other, self.where, self.metric)

    def distances(self, value: float) -> pd.DataFrame:
        """Return how far each run that `where` leaves is from a stated value of the metric.

        Returns:
          One row per run: `seed`, `there`, which is true, and `difference`, the metric minus the
          value, which is NaN of a run that did not finish.

        Raises:
          ValueError: the results lack a column that the claim names.
        """
        stats.check_columns(self.frame, self.where, self.metric)
        runs = stats.restricted(self.frame, self.where)
        distance = stats.measured(runs, self.metric) - value
        return pd.DataFrame({"seed": runs["seed"], "there": True, "difference": distance})

    def compare(self, differences: pd.DataFrame, name: str = "") -> Comparison:
        """Average what `pairs`, `interactions` or `distances` return within each seed.

        Args:
          differences: a row per pair.
          name: of the comparison, where a claim has several.
        """
        return Comparison.from_differences(differences, name, self.measure.sign)

    def _columns(self, where: Mapping[str, Scalar]) -> dict[str, Scalar]:
        return {self.column(name): value for name, value in where.items()}
