"""What lanes come to: metrics of their epochs, and measures after the last."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mnv2_jax.train.best import Best

Metrics = dict[str, Any]
"""What metrics.jsonl holds of an epoch."""


@dataclasses.dataclass
class LaneResult:
    """What a lane came to.

    Attributes:
      curve: per epoch, its number from 1 and the metrics that metrics.jsonl holds.
      diverged: whether a loss stopped being finite; the measures below are then None.
      train_accuracy: in inference mode on the images as they are, a fraction of 1.
      validation_accuracy: likewise.
      test_accuracy: likewise; the test split is read here alone, after the last epoch.
      test_loss: mean cross-entropy in nats.
      restored_epoch: where training ruined what it started from, the epoch whose network is kept
        and measured instead of the last one: that of the highest validation accuracy, 0 before the
        first step; None elsewhere. See `mnv2_jax.train.best`.
      seconds: the lane's share of the training time of its pack, compilation apart.
      waited: seconds that its pack waited for images, since it last went on.
      left_out: a line for each image that could not be decoded.
      variables: of the network as it is evaluated, on the host.
      optimizer: leaves of the optimizer's state.
    """

    curve: list[Metrics]
    diverged: bool
    train_accuracy: float | None
    validation_accuracy: float | None
    test_accuracy: float | None
    test_loss: float | None
    restored_epoch: int | None
    seconds: float
    waited: float
    left_out: tuple[str, ...]
    variables: Mapping[str, Any] = dataclasses.field(compare=False, repr=False)
    optimizer: tuple[np.ndarray, ...] = dataclasses.field(compare=False, repr=False)

    @property
    def is_restored(self) -> bool:
        """Whether training ruined what it started from; see `restored_epoch`."""
        return self.restored_epoch is not None

    @classmethod
    def of(
        cls,
        curve: list[Metrics],
        train: tuple[float, float],
        test: tuple[float, float],
        restored: Best | None = None,
        **common: Any,
    ) -> "LaneResult":
        """Puts a result together, without measures where the lane diverged.

        Args:
          curve: see above.
          train: loss and accuracy on the training split.
          test: likewise, on the test split.
          restored: what was put back before that, if training ruined what it started from.
          **common: the other fields.
        """
        if restored is not None:
            validation, epoch = float(restored.accuracy), int(restored.epoch)
            return cls(curve, False, train[1], validation, test[1], test[0], epoch, **common)
        if not all(math.isfinite(epoch["train_loss"]) for epoch in curve):
            return cls(curve, True, None, None, None, None, None, **common)
        validation = curve[-1]["validation_accuracy"]
        return cls(curve, False, train[1], validation, test[1], test[0], None, **common)
