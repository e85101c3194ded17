"""The runs that a claim is about, and their differences."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
import pandas as pd

from mnv2_jax import metrics, schema
from mnv2_jax.analysis import stats, tables, units
from mnv2_jax.analysis.decisions import Comparison
from mnv2_jax.analysis.stats import Contrast, Scalar
from mnv2_jax.metrics import SPLITS
from mnv2_jax.schema import PHASE, PRETRAINING
from mnv2_jax.side_tables import is_of_side_table

CHANCE: Final = "chance"
DROPPED: Final = "dropped"


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
      at_chance: by id, what diverged runs count with.
    """

    def __init__(
        self,
        all_runs: pd.DataFrame,
        where: Mapping[str, Scalar],
        metric: str,
        compared: Sequence[str],
        diverged: Literal["chance", "dropped"] = CHANCE,
        *,
        anytime: bool = False,
    ) -> None:
        """See the class.

        Args:
          all_runs: a table as `tables.read_results` returns it.
          where: values of fields that restrict them.
          metric: the column that the claim is about.
          compared: the fields that the claim compares.
          diverged: see `mnv2_jax.analysis.claims`.
          anytime: see `mnv2_jax.analysis.decisions.Comparison`.
        """
        if is_of_side_table(metric) and metric not in all_runs:  # It may be written later.
            all_runs = all_runs.assign(**{metric: np.nan})
        if metric == schema.DIVERGED.name and metric not in all_runs and "status" in all_runs:
            all_runs = _with_diverged(all_runs)
        self._tested = tables.tested_images(all_runs)
        self._anytime = anytime
        self.at_chance = _at_chance(all_runs, metric) if diverged == CHANCE else {}
        if self.at_chance:
            counts = all_runs["run_id"].map(self.at_chance)
            values = counts.fillna(all_runs[metric])
            status = all_runs["status"].mask(counts.notna(), "done")
            all_runs = all_runs.assign(**{metric: values, "status": status})
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

    def weighted(
        self, cells: Sequence[Mapping[str, Scalar]], weights: Sequence[float]
    ) -> pd.DataFrame:
        """Return weighted sums over cells of the claim's fields; see `stats.weighted_sums`."""
        columns = [self._columns(cell) for cell in cells]
        return stats.weighted_sums(self.frame, columns, weights, self.where, self.metric)

    def distances(self, value: float) -> pd.DataFrame:
        """Return the metric minus a stated value, of each run within `where`.

        Returns:
          One row per run: `seed`, `recorded`, which is true, `difference`, which is NaN of a run
          that did not finish, and `terms`, which is the run alone.

        Raises:
          ValueError: the results lack a column that the claim names.
        """
        stats.check_columns(self.frame, self.where, self.metric)
        runs = stats.restricted(self.frame, self.where)
        distance = stats.measured(runs, self.metric) - value
        ids = runs["run_id"] if "run_id" in runs else [""] * len(runs)
        terms = [((run, 1),) for run in ids]
        columns = {"recorded": True, "difference": distance, "terms": terms}
        return pd.DataFrame({"seed": runs["seed"], **columns})

    def count_at_chance(self) -> int:
        """Return the number of runs of `frame` within `where` that count by chance."""
        if not self.at_chance or not {*self.where} <= {*self.frame}:
            return 0
        runs = stats.restricted(self.frame, self.where)
        return int(runs["run_id"].isin([*self.at_chance]).sum())

    def compare(self, differences: pd.DataFrame, name: str = "") -> Comparison:
        """Average the rows of `pairs`, `interactions` or `distances` within each seed."""
        images, overlap, one_order = None, 0.0, False
        if self._tested is not None:
            images = self._tested.differences(differences, self.metric, self.at_chance)
            if self._tested.are_drawn(differences):
                overlap = self._overlap()
            one_order = self._tested.are_in_one_order(differences)
        return Comparison.from_differences(
            differences,
            name,
            self.measure.sign,
            images,
            anytime=self._anytime,
            overlap=overlap,
            one_order=one_order,
        )

    def _overlap(self) -> float:
        """Return the number of images that the metric is of, by that of training images."""
        split = self.metric.partition("_")[0]
        of = f"{split if split in SPLITS else 'test'}_images"
        shares = self.frame[of] / self.frame["train_images"]
        return float(shares.mean()) if shares.notna().any() else 0.0

    def _columns(self, where: Mapping[str, Scalar]) -> dict[str, Scalar]:
        return {self.column(name): value for name, value in where.items()}


def _at_chance(frame: pd.DataFrame, metric: str) -> dict[str, float]:
    """Return by id the metric of a network that knows nothing, of each run that diverged."""
    split, _, name = metric.partition("_")
    known = metrics.METRICS.get(name) if split in SPLITS else None
    if known is None or known.chance is None or not {"run_id", "classes", "status"} <= {*frame}:
        return {}
    diverged = frame[frame["status"] == "diverged"]
    counts = zip(diverged["run_id"], diverged["classes"], strict=True)
    return {run: known.chance(int(classes)) for run, classes in counts if not math.isnan(classes)}


def _with_diverged(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the column `schema.DIVERGED`, of which every finished run has a value."""
    finished = frame["status"].isin(schema.FINISHED)
    share = (frame["status"] == "diverged").astype(float).where(finished)
    status = frame["status"].mask(finished, "done")
    return frame.assign(**{schema.DIVERGED.name: share, "status": status})
