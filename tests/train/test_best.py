"""A run that training ruins keeps its best network."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.train import loop, parallel
from mnv2_jax.train.best import Best
from mnv2_jax.train.callbacks import Callback, Checkpointing, Preemption
from mnv2_jax.train.checkpoint import Checkpoints
from mnv2_jax.train.preemption import Interrupted, StopRequest
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.tuning import Start, Tuning
from tests.train.lanes import lane

EPOCHS = 60
VALUES = [lane(learning_rate=rate, label_smoothing=0.0) for rate in (0.003, 1e3, 1e30)]
"""One learns, training ruins one, of one no number stays finite."""


@pytest.fixture(scope="module")
def trainer(spec, dots):
    program = LaneProgram(
        spec, Recipe(EPOCHS, 64, 40), steps_per_epoch=1, tuning=Tuning("stem", "trained")
    )
    return loop.Trainer(program, dots, parallel.Batch(len(VALUES)))


@pytest.fixture(scope="module")
def start(trainer):
    """A network trained from random weights."""
    (trained,) = trainer.run([lane(learning_rate=0.1, label_smoothing=0.0)])
    assert trained.restored_epoch is None
    assert trained.measures["test_loss"] < 1.2
    return Start(trained.variables)


@pytest.fixture(scope="module")
def results(trainer, start):
    return trainer.run(VALUES, (), [start] * len(VALUES))


def test_a_ruined_network_is_replaced_by_the_best_one_by_validation(trainer, results, start):
    assert trainer.layout.axis_size > 1  # Also where devices share batches.
    fine, *ruined = results
    assert fine.restored_epoch is None
    assert fine.measures["validation_accuracy"] == fine.curve[-1]["validation_accuracy"]
    for result in ruined:
        assert not result.diverged
        assert result.restored_epoch == 0  # No step leads anywhere at such rates.
        assert result.measures["train_accuracy"] > 0.7
        assert len(result.curve) == EPOCHS
        jax.tree.map(np.testing.assert_array_equal, dict(result.variables), start.variables)


def test_a_resumed_training_keeps_the_best_network(trainer, start, results, tmp_path):
    starts = [start] * len(VALUES)
    checkpoints = Checkpoints(tmp_path, {"of": "test"})
    stop = StopRequest()

    class StopInTheMiddle(Callback):
        def on_epoch(self, epoch, metrics):
            if epoch == 2:
                stop.signal = 15

    callbacks = [StopInTheMiddle(), Preemption(stop), Checkpointing(checkpoints, seconds=0.0)]
    with pytest.raises(Interrupted):
        trainer.run(VALUES, callbacks, starts)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, {"of": "test"})
    lines: list[str] = []
    resumed = trainer.run(VALUES, [Checkpointing(checkpoints)], starts, lines.append)
    checkpoints.close()
    assert lines == [f"resuming from step 2 of {EPOCHS}"]
    for one, other in zip(resumed, results, strict=True):
        assert dataclasses.replace(one, seconds=0.0, curve=[]) == dataclasses.replace(
            other, seconds=0.0, curve=[]
        )
        jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)


def best(start):
    return Best((), np.array(0), np.array(0.5), np.array(1.0), np.array(start))


@given(
    start=st.floats(0, 20), loss=st.one_of(st.floats(0, 50), st.just(math.nan), st.just(math.inf))
)
def test_a_loss_not_above_the_start_is_no_ruin_and_one_that_is_not_finite_is(start, loss):
    needed = best(start).is_needed(loss, classes=10)
    assert not (needed and loss <= start)
    assert needed or math.isfinite(loss)


def test_half_way_to_a_guess_is_ruin():
    assert not best(0.1).is_needed((0.1 + math.log(6)) / 2 - 1e-6, classes=6)
    assert best(0.1).is_needed((0.1 + math.log(6)) / 2 + 1e-6, classes=6)


def test_the_higher_accuracy_is_better_and_of_equal_ones_the_lower_loss():
    one = best(0.0)
    assert one.is_beaten_by((3.0, 0.6))
    assert one.is_beaten_by((0.9, 0.5))
    assert not one.is_beaten_by((1.0, 0.5))
    assert not one.is_beaten_by((0.1, 0.4))
    assert not one.is_beaten_by((math.nan, math.nan))
