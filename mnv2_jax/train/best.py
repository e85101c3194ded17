"""The best network of a run that starts from a trained one, kept in case training ruins it.

A few images teach a trained network all that they can in the first steps. Too large a learning
rate may then move its weights so far within one epoch that they never recover.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mnv2_jax.train.state import TrainState

Losses = list[tuple[float, float]]
"""Loss and accuracy of every lane."""


class Best(NamedTuple):
    """The network of a lane with the highest validation accuracy so far, on the host.

    Attributes:
      network: `params`, `batch_stats` and `ema` of a `TrainState`.
      epoch: the number of epochs trained; 0 at the start.
      accuracy: on the validation split, a fraction of 1.
      loss: on the validation split, in nats; it decides between equal accuracies.
      start: the loss on the training images, in inference mode, before the first step.
    """

    network: Any
    epoch: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    start: np.ndarray

    @classmethod
    def create(
        cls, state: TrainState, epoch: int, validation: tuple[float, float], start: float
    ) -> "Best":
        """Take a lane's network as the best one; `validation` is its loss and accuracy."""
        loss, accuracy = validation
        network = (state.params, state.batch_stats, state.ema)
        numbers = (np.array(number, np.float64) for number in (accuracy, loss, start))
        return cls(network, np.array(epoch, np.int32), *numbers)

    def is_beaten_by(self, validation: tuple[float, float]) -> bool:
        """Return whether a network with this loss and accuracy on the validation split is better.

        Higher accuracy wins; of equal accuracies, the lower loss.
        """
        loss, accuracy = validation
        return (accuracy, -loss) > (float(self.accuracy), -float(self.loss))

    def is_needed(self, loss: float, classes: int) -> bool:
        """Return whether training ruined the network that it started from.

        It did if the loss on the training images, after the last step and in inference mode, is not
        a number, or rose more than half way from that at the start to that of guessing, the
        logarithm of the number of classes. From a start worse than guessing, such as a fresh
        classifier, any rise counts.
        """
        start = float(self.start)
        return not loss <= max(start, (start + math.log(classes)) / 2)

    def restored(self, state: TrainState) -> TrainState:
        """Return a lane's state with this network in it."""
        params, batch_stats, ema = self.network
        return state._replace(params=params, batch_stats=batch_stats, ema=ema)


def update(
    best: list[Best], epoch: int, validation: Losses, states: Callable[[], Sequence[TrainState]]
) -> list[Best]:
    """Return the best networks after an epoch.

    Args:
      best: those before it; empty where lanes start from random weights.
      epoch: the epoch's number, from 1.
      validation: loss and accuracy on the validation split.
      states: copies the lanes' states, which takes time; called only if a network is better.
    """
    beaten = [old.is_beaten_by(new) for old, new in zip(best, validation, strict=False)]
    if not any(beaten):
        return best
    return [
        Best.create(state, epoch, new, start=float(old.start)) if is_beaten else old
        for state, old, new, is_beaten in zip(states(), best, validation, beaten, strict=True)
    ]


def to_restore(best: Sequence[Best], train: Losses, classes: int) -> list[Best | None]:
    """Return the best networks of the lanes that training ruined, None for the others.

    Args:
      best: the best networks; empty where lanes start from random weights.
      train: loss and accuracy on the training images, in inference mode, after the last step.
      classes: the number of classes.
    """
    if not best:
        return [None] * len(train)
    return [
        one if one.is_needed(loss, classes) else None
        for one, (loss, _) in zip(best, train, strict=True)
    ]
