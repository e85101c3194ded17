"""Per-lane results: metrics of every epoch, and measures after the last."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mnv2_jax.train.best import Best

Metrics = dict[str, Any]
"""The metrics of an epoch, as metrics.jsonl holds them."""


@dataclasses.dataclass
class LaneResult:
    """The results of a lane.

    Attributes:
      curve: per epoch, its number from 1 and the metrics that metrics.jsonl holds.
      diverged: whether a loss stopped being finite; then there are no measures.
      measures: by column of results.csv, such as `test_accuracy`: each metric of each split, in
        inference mode on the images as they are. The test split is read here alone, after the last
        epoch.
      restored_epoch: where training ruined what it started from, the epoch whose network is kept
        and measured instead of the last one: that of the highest validation accuracy, 0 before the
        first step; None elsewhere. See `mnv2_jax.train.best`.
      seconds: the lane's share of the training time of its chunk, compilation apart.
      waited: seconds that its chunk waited for images, since it last went on.
      left_out: a line for each image that could not be decoded.
      variables: of the network as it is evaluated, on the host.
      optimizer: leaves of the optimizer's state.
    """

    curve: list[Metrics]
    diverged: bool
    measures: Mapping[str, float]
    restored_epoch: int | None
    seconds: float
    waited: float
    left_out: tuple[str, ...]
    variables: Mapping[str, Any] = dataclasses.field(compare=False, repr=False)
    optimizer: tuple[np.ndarray, ...] = dataclasses.field(compare=False, repr=False)

    @property
    def is_restored(self) -> bool:
        """Return whether training ruined what it started from; see `restored_epoch`."""
        return self.restored_epoch is not None

    @classmethod
    def create(
        cls,
        curve: list[Metrics],
        measures: Mapping[str, float],
        restored: Best | None = None,
        **common: Any,
    ) -> "LaneResult":
        """Put a result together, without measures where the lane diverged.

        Args:
          curve: see above.
          measures: see above.
          restored: what was put back before they were taken, if training ruined what it started
            from.
          **common: the other fields.
        """
        epoch = None if restored is None else int(restored.epoch)
        finite = all(math.isfinite(epoch["train_loss"]) for epoch in curve)
        diverged = restored is None and not finite
        return cls(curve, diverged, {} if diverged else measures, epoch, **common)
