"""Per-lane results: metrics of every epoch, and measures after the last."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mnv2_jax.predictions import Predictions

Metrics = dict[str, Any]
"""The metrics of an epoch, as metrics.jsonl holds them."""


@dataclasses.dataclass
class LaneResult:
    """The results of a lane.

    Attributes:
      curve: the metrics of each epoch.
      diverged: whether a loss stopped being finite; then `measures` is empty.
      measures: by column of results.csv, such as `test_accuracy`: each metric of each split, in
        inference mode on images without augmentation; and the number of these, `test_images`. The
        test split is read only for these and `predictions`, after the last epoch.
      restored_epoch: where training ruined the network that it started from, the epoch of the
        highest validation accuracy (0: before the first step), whose network replaces the last
        one; otherwise None. See `mnv2_jax.train.best`.
      seconds: the lane's share of the training time of its chunk, without compilation.
      waited: seconds that its chunk waited for images since it was last resumed.
      left_out: a line for each image that could not be decoded.
      predictions: for each test image, without names of classes; None if these were left unread.
      variables: of the evaluated network, on the host.
      optimizer: leaves of the optimizer's state.
    """

    curve: list[Metrics]
    diverged: bool
    measures: Mapping[str, float]
    restored_epoch: int | None
    seconds: float
    waited: float
    left_out: tuple[str, ...]
    predictions: Predictions | None = dataclasses.field(compare=False, repr=False)
    variables: Mapping[str, Any] = dataclasses.field(compare=False, repr=False)
    optimizer: tuple[np.ndarray, ...] = dataclasses.field(compare=False, repr=False)

    @property
    def is_restored(self) -> bool:
        """True if an earlier epoch's network is kept; see `restored_epoch`."""
        return self.restored_epoch is not None
