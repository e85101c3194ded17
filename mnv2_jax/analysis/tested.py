"""Metrics of runs for each test image, from their predictions."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax import checksums, predictions
from mnv2_jax.predictions import LEFT_OUT, Predictions

_METRICS = {
    "accuracy": lambda tested: np.where(
        tested.predicted == LEFT_OUT, np.nan, tested.predicted == tested.labels
    ),
    "loss": lambda tested: np.where(tested.predicted == LEFT_OUT, np.nan, tested.losses),
}
"""Metrics that are means over images, with their terms."""


class TestedImages:
    """Reads predictions of runs in a folder, each once."""

    def __init__(
        self, workdir: Path, of_tables: Mapping[str, Mapping[str, Predictions]] | None = None
    ) -> None:
        """Read nothing yet from an experiment's folder.

        Args:
          workdir: the folder.
          of_tables: predictions by side table and run.
        """
        self._workdir = workdir
        self._of_tables = of_tables or {}
        self._read = functools.cache(functools.partial(predictions.read, workdir))
        self._drawn = functools.cache(self._is_drawn)
        self._data = functools.cache(self._data_of)

    def __deepcopy__(self, memo: Any) -> "TestedImages":
        return self  # Pandas deep-copies a table's attributes whenever it makes another.

    def are_drawn(self, pairs: pd.DataFrame) -> bool:
        """Return whether runs of pairs draw their images by seed (`config.data.split`)."""
        return any(map(self._drawn, _runs_of(pairs)))

    def are_in_one_order(self, pairs: pd.DataFrame) -> bool:
        """Return whether runs of pairs take images in an order of all seeds (`data.order`)."""
        return any(self._data(run).get("order") == "shared" for run in _runs_of(pairs))

    def _is_drawn(self, run: str) -> bool:
        if data := self._data(run):
            return bool(data.get("split") == "per_seed")
        found = self._read(run)
        return found is not None and bool(found.images)

    def _data_of(self, run: str) -> Mapping[str, Any]:
        """Return the section `data` of a run's config; {} where its record is not there."""
        config = checksums.read_if_there(self._workdir / "runs" / run / "config.json")
        return dict((config or {}).get("data", {}))

    def differences(
        self, pairs: pd.DataFrame, metric: str, chance: Mapping[str, float]
    ) -> np.ndarray | None:
        """Return differences for each test image, averaged within each seed, `(seeds, images)`.

        Args:
          pairs: as `stats.paired_differences` returns them.
          metric: a column of results.csv, or of a side table.
          chance: values of runs that count by chance, by id.

        Returns:
          Seeds in ascending order, those that have a pair; None if that cannot be known: a run
          recorded no predictions, the metric is no mean over images, or runs were tested on
          different images.
        """
        table, slash, name = metric.rpartition("/")
        values_of = _METRICS.get(name if slash else metric.removeprefix("test_"))
        read_run = self._of_tables.get(table, {}).get if slash else self._read
        pairs = pairs.dropna(subset="difference")
        if values_of is None or pairs.empty:
            return None
        ids = _runs_of(pairs) - chance.keys()
        read = {run: read_run(run) for run in ids}
        first = next(iter(read.values()), None)
        if first is None or not all(
            other and first.has_images_of(other) for other in read.values()
        ):
            return None
        values: dict[str, Any] = {run: values_of(tested) for run, tested in read.items() if tested}
        values |= chance
        by_seed = [
            np.mean([sum(sign * values[run] for run, sign in terms) for terms in own], axis=0)
            for _, own in pairs.groupby("seed")["terms"]
        ]
        matrix = np.stack([np.broadcast_to(row, first.labels.shape) for row in by_seed])
        seen = np.isfinite(matrix).all(axis=0)
        return matrix[:, seen] if seen.any() else None


def _runs_of(pairs: pd.DataFrame) -> set[str]:
    return {run for terms in pairs.dropna(subset="difference")["terms"] for run, _ in terms}
