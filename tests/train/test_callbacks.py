"""Callbacks watch, save and end a training."""

import re
from dataclasses import dataclass

import pytest

from mnv2_jax.train.callbacks import Callback, Checkpointing, Preemption, Progress
from mnv2_jax.train.checkpoint import Checkpoints
from mnv2_jax.train.preemption import Interrupted, StopRequest
from tests.train.lanes import lane

EPOCHS = 3
VALUES = lane()


class Seen(Callback):
    """Records its calls, and stops after an epoch."""

    def __init__(self, stop_after=0):
        self.steps, self.epochs, self.views = [], [], []
        self._stop_after = stop_after

    def on_step(self, view):
        self.steps.append(view.step)
        self.views.append((view.at_end_of_epoch, view.validation_accuracy, view.is_stopping))
        return False

    def on_epoch(self, epoch, metrics):
        self.epochs.append((epoch, [one["epoch"] for one in metrics]))

    def stop_signal(self):
        return 15 if self._stop_after and len(self.epochs) >= self._stop_after else 0


def test_a_callback_sees_steps_and_epochs_in_their_order(trainer):
    seen = Seen()
    steps: list[int] = []
    (result,) = trainer.run([VALUES], [seen, Progress(steps.append)])
    (unwatched,) = trainer.run([VALUES])
    assert (result.curve, result.measures) == (unwatched.curve, unwatched.measures)
    assert seen.steps == steps
    assert (seen.steps[0], seen.steps[-1]) == (0, 4 * EPOCHS)
    assert seen.steps == sorted(seen.steps)
    assert {4, 8, 12} <= {*seen.steps}  # Calls end where epochs do.
    assert seen.epochs == [(epoch, [epoch]) for epoch in range(1, EPOCHS + 1)]
    ended, accuracy, stopping = seen.views[-1]
    assert (ended, stopping) == (True, False)
    assert seen.views[0] == (False, None, False)
    assert accuracy == result.curve[-1]["validation_accuracy"]
    assert all(accuracy is None for ended, accuracy, _ in seen.views if not ended)


def test_any_callback_may_ask_to_stop(trainer):
    seen = Seen(stop_after=1)
    message = "step 4 of 12 is not saved, since there are no checkpoints"
    with pytest.raises(Interrupted, match=re.escape(message)):
        trainer.run([VALUES], [seen])
    assert seen.views[-1][2]


def test_a_signal_during_the_last_step_lets_training_end(trainer):
    stop = StopRequest()

    class Late(Callback):
        def on_epoch(self, epoch, metrics):
            if epoch == EPOCHS:
                stop.signal = 15

    (result,) = trainer.run([VALUES], [Late(), Preemption(stop)])
    assert len(result.curve) == EPOCHS


@dataclass
class Look:
    """A `View`."""

    step: int
    seconds: float
    at_end_of_epoch: bool = True
    is_stopping: bool = False
    steps: int = 100
    validation_accuracy: float | None = 0.5

    def snapshot(self):
        return self.step


class Kept(Checkpoints):
    """Records what is saved."""

    def __init__(self):
        self.saved, self.waited = [], 0

    def save(self, snapshot, accuracy):
        self.saved.append((snapshot, accuracy))

    def wait(self):
        self.waited += 1


def test_checkpoints_are_due_by_seconds_and_at_ends_of_epochs():
    kept = Kept()
    saves = Checkpointing(kept, seconds=10.0)
    looks = [
        (Look(0, 5.0), False),  # The first state was restored, or follows from the seed.
        (Look(1, 14.9), False),
        (Look(2, 15.0), True),
        (Look(3, 30.0, at_end_of_epoch=False), False),  # Within an epoch after twice as long.
        (Look(4, 35.0, at_end_of_epoch=False), True),
        (Look(5, 36.0, is_stopping=True), True),
        (Look(100, 99.0), False),
    ]
    assert [saves.on_step(look) for look, _ in looks] == [saved for _, saved in looks]
    assert [step for step, _ in kept.saved] == [2, 4, 5]
    assert kept.waited == 1  # Before it stops, all is on disk.


def test_the_last_step_is_saved_where_that_was_asked_for():
    kept = Kept()
    saves = Checkpointing(kept, seconds=1e9, save_last=True)
    assert [saves.on_step(Look(step, 0.0)) for step in (0, 50, 100)] == [False, False, True]
    assert kept.waited == 1
