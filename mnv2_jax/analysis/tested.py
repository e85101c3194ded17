"""Metrics of runs for each test image, from the predictions beside their records."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax import checksums, predictions
from mnv2_jax.predictions import LEFT_OUT

_METRICS = {
    "test_accuracy": lambda tested: np.where(
        tested.predicted == LEFT_OUT, np.nan, tested.predicted == tested.labels
    ),
    "test_loss": lambda tested: np.where(tested.predicted == LEFT_OUT, np.nan, tested.losses),
}
"""Columns whose value is a mean over test images, with its terms."""


class TestedImages:
    """Reads predictions of runs in a folder, each once."""

    def __init__(self, workdir: Path) -> None:
        """Read nothing yet from an experiment's folder."""
        self._workdir = workdir
        self._read = functools.cache(functools.partial(predictions.read, workdir))
        self._drawn = functools.cache(self._is_drawn)

    def __deepcopy__(self, memo: Any) -> "TestedImages":
        return self  # Pandas deep-copies a table's attributes whenever it makes another.

    def are_drawn(self, pairs: pd.DataFrame) -> bool:
        """Return whether runs of pairs draw their images by seed (`config.data.split`)."""
        complete = pairs.dropna(subset="difference")
        return any(
            self._drawn(run) for run in {run for terms in complete["terms"] for run, _ in terms}
        )

    def _is_drawn(self, run: str) -> bool:
        config = checksums.read_if_there(self._workdir / "runs" / run / "config.json")
        if config:
            return bool(config.get("data", {}).get("split") == "per_seed")
        found = self._read(run)
        return found is not None and bool(found.images)

    def differences(
        self, pairs: pd.DataFrame, metric: str, chance: Mapping[str, float]
    ) -> np.ndarray | None:
        """Return differences for each test image, averaged within each seed, `(seeds, images)`.

        Args:
          pairs: as `stats.paired_differences` returns them.
          metric: a column of results.csv.
          chance: values of runs that count by chance, by id.

        Returns:
          Seeds in ascending order, those that have a pair; None if that cannot be known: a run
          recorded no predictions, the metric is no mean over images, or runs were tested on
          different images.
        """
        values_of = _METRICS.get(metric)
        pairs = pairs.dropna(subset="difference")
        if values_of is None or pairs.empty:
            return None
        ids = {run for terms in pairs["terms"] for run, _ in terms} - chance.keys()
        read = {run: self._read(run) for run in ids}
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
