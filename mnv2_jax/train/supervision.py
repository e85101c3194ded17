"""How a training is watched, saved and stopped."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from mnv2_jax.train.checkpoint import Checkpoints
from mnv2_jax.train.results import Metrics
from mnv2_jax.train.stopping import Stop


def _nothing(*arguments: Any) -> None:
    pass


@dataclasses.dataclass
class Supervision:
    """How a training is watched, saved and stopped. As it is by default: not at all.

    Attributes:
      on_step: called with the steps done, first where training starts or goes on from.
      on_epoch: called with the epoch's number, from 1, and its metrics per lane; for epochs that a
        checkpoint holds as well.
      tell: called with a line for people.
      stop: looked at between calls of the program.
      checkpoints: where to go on from and save to, or None.
      checkpoint_seconds: after these a checkpoint is due at the next end of an epoch; after twice
        these within an epoch.
      save_last: save after the last step too.
    """

    on_step: Callable[[int], None] = _nothing
    on_epoch: Callable[[int, Sequence[Metrics]], None] = _nothing
    tell: Callable[[str], None] = _nothing
    stop: Stop = dataclasses.field(default_factory=Stop)
    checkpoints: Checkpoints | None = None
    checkpoint_seconds: float = 60.0
    save_last: bool = False
