"""The best network of a run that starts from a trained one, for runs that ruin what they are given.

A trained network has learned all that a few images can teach in the first steps; too large a
learning rate may then throw its weights far away within one epoch, where nothing brings them back.
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
      network: parameters and running moments that train, and their averages; see `TrainState`.
      epoch: after which it was so; 0 is the start.
      accuracy: on the validation split, a fraction of 1.
      loss: likewise, in nats; among equal accuracies the lowest counts.
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
        """Return that of a lane which has had no better one.

        Args:
          state: the lane's.
          epoch: see above.
          validation: loss and accuracy.
          start: see above.
        """
        loss, accuracy = validation
        network = (state.params, state.batch_stats, state.ema)
        numbers = (np.array(number, np.float64) for number in (accuracy, loss, start))
        return cls(network, np.array(epoch, np.int32), *numbers)

    def is_beaten_by(self, validation: tuple[float, float]) -> bool:
        """Return whether another network has a better loss and accuracy on the validation split."""
        loss, accuracy = validation
        return (accuracy, -loss) > (float(self.accuracy), -float(self.loss))

    def is_needed(self, loss: float, classes: int) -> bool:
        """Return whether training ruined what it started from.

        It did if the training images' loss rose more than half way from that of the start to that
        of a guess (the logarithm of the number of classes), or is no number. A start that knows
        less than a guess, such as a fresh classifier, is ruined by any rise.

        Args:
          loss: on the training images, in inference mode, after the last step.
          classes: how many there are.
        """
        start = float(self.start)
        return not loss <= max(start, (start + math.log(classes)) / 2)

    def restored(self, state: TrainState) -> TrainState:
        """Return a lane's state with this network in it."""
        params, batch_stats, ema = self.network
        return state._replace(params=params, batch_stats=batch_stats, ema=ema)


def at_start(states: Sequence[TrainState], validation: Losses, train: Losses) -> list[Best]:
    """Note what lanes are given, before the first step.

    Args:
      states: of the lanes.
      validation: loss and accuracy on the validation split.
      train: likewise on the training images, in inference mode.
    """
    return [
        Best.create(state, 0, measured, start=loss)
        for state, measured, (loss, _) in zip(states, validation, train, strict=True)
    ]


def kept(
    known: list[Best], epoch: int, measured: Losses, states: Callable[[], Sequence[TrainState]]
) -> list[Best]:
    """Return the best networks after an epoch.

    Args:
      known: those before it; none where lanes start from nothing.
      epoch: its number, from 1.
      measured: loss and accuracy on the validation split.
      states: copies the lanes' states, which takes time.
    """
    beaten = [one.is_beaten_by(new) for one, new in zip(known, measured, strict=False)]
    if not any(beaten):
        return known
    return [
        Best.create(state, epoch, new, start=float(one.start)) if is_beaten else one
        for state, one, new, is_beaten in zip(states(), known, measured, beaten, strict=True)
    ]


def ruined(known: Sequence[Best], train: Losses, classes: int) -> list[Best | None]:
    """Return the best networks of the lanes that training ruined; None for the others.

    Args:
      known: the best networks; none where lanes start from nothing.
      train: loss and accuracy on the training images, in inference mode, after the last step.
      classes: how many there are.
    """
    if not known:
        return [None] * len(train)
    return [
        one if one.is_needed(loss, classes) else None
        for one, (loss, _) in zip(known, train, strict=True)
    ]
