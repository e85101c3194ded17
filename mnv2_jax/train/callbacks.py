"""Callbacks: they watch, save and end a training."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mnv2_jax.train.checkpoint import Checkpoint, Checkpoints
from mnv2_jax.train.preemption import StopRequest
from mnv2_jax.train.results import Metrics


class View(Protocol):
    """A training between two calls of its program, as callbacks see it."""

    @property
    def step(self) -> int:
        """Steps done."""

    @property
    def steps(self) -> int:
        """Steps of the whole training."""

    @property
    def at_end_of_epoch(self) -> bool:
        """True if the last step was the last one of an epoch."""

    @property
    def is_stopping(self) -> bool:
        """True if the training ends here because a callback asked for it."""

    @property
    def validation_accuracy(self) -> float | None:
        """The lanes' mean after the epoch that ended here; None within an epoch."""

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a restart included."""

    def snapshot(self) -> Checkpoint:
        """Copy the lanes to the host."""


class Callback:
    """The base class of callbacks, whose methods do nothing."""

    def restore(self, abstract_state: Any) -> Checkpoint | None:
        """Return the checkpoint to resume from, if any.

        Args:
          abstract_state: a state of all lanes with the expected structure, shapes and types.
        """
        return None

    def on_step(self, view: View) -> bool:
        """Look at the training: before its first step, then after every call of its program.

        Returns:
          Whether this state is saved, so that training can resume from it.
        """
        return False

    def on_epoch(self, epoch: int, metrics: Sequence[Metrics]) -> None:
        """Take each lane's metrics of an epoch, numbered from 1.

        A training that is resumed first repeats those of earlier epochs.
        """

    def stop_signal(self) -> int:
        """Return the number of a signal that asks the training to end, or 0."""
        return 0


class Progress(Callback):
    """Calls a function with the number of steps done."""

    def __init__(self, on_step: Callable[[int], None]) -> None:
        self._on_step = on_step

    def on_step(self, view: View) -> bool:
        """See `Callback`."""
        self._on_step(view.step)
        return False


class Preemption(Callback):
    """Ends the training when a signal came."""

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop

    def stop_signal(self) -> int:
        """See `Callback`."""
        return self._stop.signal


class Checkpointing(Callback):
    """Saves checkpoints at intervals, and resumes from the latest sound one.

    Args:
      checkpoints: saves and restores them.
      tell: called with a line for each checkpoint that is skipped.
      seconds: the interval, after which the next end of an epoch is saved; within an epoch twice
        as long.
      save_last: save after the last step too.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        tell: Callable[[str], None] = lambda line: None,
        seconds: float = 60.0,
        *,
        save_last: bool = False,
    ) -> None:
        self._checkpoints = checkpoints
        self._tell = tell
        self._interval = seconds
        self._save_last = save_last
        self._saved_at: float | None = None  # In seconds of training; None before the first step.

    def restore(self, abstract_state: Any) -> Checkpoint | None:
        """See `Callback`."""
        return self._checkpoints.restore(abstract_state, self._tell)

    def on_step(self, view: View) -> bool:
        """See `Callback`."""
        if self._saved_at is None:  # The first state was just restored, or follows from the seed.
            self._saved_at = view.seconds
            return False
        done = view.step == view.steps
        interval = self._interval * (1 if view.at_end_of_epoch else 2)
        due = self._save_last if done else view.seconds - self._saved_at >= interval
        if not (due or view.is_stopping):
            return False
        self._checkpoints.save(view.snapshot(), view.validation_accuracy)
        self._saved_at = view.seconds
        if view.is_stopping or done:
            self._checkpoints.wait()
        return True
