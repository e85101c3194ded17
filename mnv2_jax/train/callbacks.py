"""Callbacks: a list of objects with one protocol that watch, save and end a training."""

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
    """The protocol, every method of which does nothing."""

    def restore(self, abstract_state: Any) -> Checkpoint | None:
        """Return what training goes on from, if there is something.

        Args:
          abstract_state: a state of all lanes with the structure, shapes and types to be found.
        """
        return None

    def on_step(self, view: View) -> bool:
        """Look at the training, first where it begins or goes on, then after every call.

        Returns:
          Whether the state is saved, so that a training that stops can go on from it.
        """
        return False

    def on_epoch(self, epoch: int, metrics: Sequence[Metrics]) -> None:
        """Take an epoch's metrics per lane; those before a restart are told again.

        Args:
          epoch: its number, from 1.
          metrics: as metrics.jsonl has them.
        """

    def stop_signal(self) -> int:
        """Return the number of the signal that asks the training to end; 0 to go on."""
        return 0


class Progress(Callback):
    """Calls a function with the steps done."""

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
    """Saves checkpoints now and then, and goes on from the latest sound one."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        tell: Callable[[str], None] = lambda line: None,
        seconds: float = 60.0,
        *,
        save_last: bool = False,
    ) -> None:
        """Begin.

        Args:
          checkpoints: where to.
          tell: is told in a line what is passed over, and why.
          seconds: after these a checkpoint is due at the next end of an epoch; after twice these
            within an epoch.
          save_last: save after the last step too.
        """
        self._checkpoints = checkpoints
        self._tell = tell
        self._due_after = seconds
        self._save_last = save_last
        self._saved_at: float | None = None  # Seconds of training; None before the first look.

    def restore(self, abstract_state: Any) -> Checkpoint | None:
        """See `Callback`."""
        return self._checkpoints.restore(abstract_state, self._tell)

    def on_step(self, view: View) -> bool:
        """See `Callback`."""
        if self._saved_at is None:  # What training begins with is saved already, or drawn again.
            self._saved_at = view.seconds
            return False
        done = view.step == view.steps
        due = self._due_after * (1 if view.at_end_of_epoch else 2)
        waited = view.seconds - self._saved_at >= due
        if not (view.is_stopping or (self._save_last if done else waited)):
            return False
        self._checkpoints.save(view.snapshot(), view.validation_accuracy)
        self._saved_at = view.seconds
        if view.is_stopping or done:
            self._checkpoints.wait()
        return True
