"""The runs that a claim is about, and their differences."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mnv2_jax.analysis import stats, tables, units
from mnv2_jax.analysis.decisions import Comparison
from mnv2_jax.analysis.stats import Contrast, Scalar
from mnv2_jax.schema import PHASE, PRETRAINING
from mnv2_jax.side_tables import is_of_side_table


class Runs:
    """The runs that a claim is about.

    Runs of pretraining are left out unless the claim names the phase, since they are tested on
    other classes.

    Attributes:
      all_runs: a table as `tables.read_results` returns it.
      frame: those that the claim is about, before `where`.
      where: values of columns that restrict them.
      metric: the column that the claim is about.
      measure: the name and format of the metric.
    """

    def __init__(
        self,
        all_runs: pd.DataFrame,
        where: Mapping[str, Scalar],
        metric: str,
        compared: Sequence[str],
    ) -> None:
        """See the class; `compared` are the fields that the claim compares."""
        if is_of_side_table(metric) and metric not in all_runs:  # It may be written later.
            all_runs = all_runs.assign(**{metric: np.nan})
        self.all_runs = all_runs
        self.where = self._columns(where)
        self.metric = metric
        self.measure = units.measure_of(tables.describe(all_runs, metric))
        named = {*self.where, *map(self.column, compared)}
        leave_out = PHASE in all_runs and PHASE not in named
        self.frame = all_runs[all_runs[PHASE] != PRETRAINING] if leave_out else all_runs

    def column(self, name: str) -> str:
        """Return the column of a field of the config."""
        return tables.column(self.all_runs, name)

    def contrast(self, one: Contrast) -> Contrast:
        """Return a contrast of columns for one of fields, restricted by the claim's `where` too."""
        covarying = map(self.column, one.covarying)
        return Contrast(
            self.column(one.axis),
            one.better,
            one.worse,
            {**self.where, **self._columns(one.where)},
            # A field of the config that no runs differ in has no column.
            tuple(column for column in covarying if column in self.all_runs or "." not in column),
        )

    def pairs(self, one: Contrast) -> pd.DataFrame:
        """Return the pairs of a contrast; see `stats.paired_differences`."""
        return stats.paired_differences(self.frame, self.contrast(one), self.metric)

    def interactions(self, one: Contrast, by: Contrast) -> pd.DataFrame:
        """Return differences of differences; see `stats.paired_interactions`."""
        return stats.paired_interactions(
            self.frame, self.contrast(one), self.contrast(by), self.metric
        )

    def distances(self, value: float) -> pd.DataFrame:
        """Return the metric minus a stated value, of each run within `where`.

        Returns:
          One row per run: `seed`, `recorded`, which is true, and `difference`, which is NaN of a
          run that did not finish.

        Raises:
          ValueError: the results lack a column that the claim names.
        """
        stats.check_columns(self.frame, self.where, self.metric)
        runs = stats.restricted(self.frame, self.where)
        distance = stats.measured(runs, self.metric) - value
        return pd.DataFrame({"seed": runs["seed"], "recorded": True, "difference": distance})

    def compare(self, differences: pd.DataFrame, name: str = "") -> Comparison:
        """Average the rows of `pairs`, `interactions` or `distances` within each seed."""
        return Comparison.from_differences(differences, name, self.measure.sign)

    def _columns(self, where: Mapping[str, Scalar]) -> dict[str, Scalar]:
        return {self.column(name): value for name, value in where.items()}
