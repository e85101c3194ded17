"""A run that ruins what it starts from keeps the best network that it passed."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax import presets
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train import loop, parallel
from mnv2_jax.train.best import Best
from mnv2_jax.train.callbacks import Callback, Checkpointing, Preemption
from mnv2_jax.train.checkpoint import Checkpoints
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.preemption import Interrupted, StopRequest
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.tuning import Start, Tuning

EPOCHS = 4
RATES = (0.003, 1e3, 1e30)
"""One that is fine, one that ruins, one after which no number is finite."""


def lane(rate):
    return HParams(
        *(np.uint32(0), np.uint32(0), Knobs.from_names("linear", "bottleneck")),
        *(np.float32(rate), np.float32(0.0), np.float32(0.0)),
    )


@pytest.fixture(scope="module")
def spec(tiny):
    return presets.build(tiny, expansion=2)


@pytest.fixture(scope="module")
def start(spec, dots):
    """What a few epochs from random weights come to."""
    program = LaneProgram(spec, Recipe(60, 64, 40), steps_per_epoch=1)
    (trained,) = loop.Trainer(program, dots, parallel.Lanes(1)).run([lane(0.1)])
    assert "test_loss" in trained.measures
    assert trained.measures["test_loss"] < 1.2
    return Start(trained.variables)


@pytest.fixture(scope="module")
def trainer(spec, dots):
    program = LaneProgram(
        spec, Recipe(EPOCHS, 64, 40), steps_per_epoch=1, tuning=Tuning("stem", "inference")
    )
    return loop.Trainer(program, dots, parallel.Lanes(len(RATES)))


@pytest.fixture(scope="module")
def results(trainer, start):
    return trainer.run([lane(rate) for rate in RATES], (), [start] * len(RATES))


def test_what_is_ruined_is_measured_with_the_best_epoch_by_validation(results, start):
    fine, *ruined = results
    assert fine.restored_epoch is None
    assert fine.measures["validation_accuracy"] == fine.curve[-1]["validation_accuracy"]
    for result in ruined:
        assert not result.diverged
        assert result.restored_epoch == 0  # No step leads anywhere at such rates.
        assert result.measures["train_accuracy"] > 0.7
        assert len(result.curve) == EPOCHS
        jax.tree.map(np.testing.assert_array_equal, dict(result.variables), start.variables)


def test_devices_that_share_batches_keep_it_too(trainer, dots, start, results):
    layout = parallel.Batch(1)
    shared = loop.Trainer(trainer.program, dots, layout)
    (ruined,) = shared.run([lane(1e3)], (), [start])
    assert layout.axis_size > 1
    assert ruined.restored_epoch == 0
    assert ruined.measures["test_accuracy"] == results[1].measures["test_accuracy"]


def test_the_best_network_goes_on_from_a_checkpoint(trainer, start, results, tmp_path):
    values, starts = [lane(rate) for rate in RATES], [start] * len(RATES)
    checkpoints = Checkpoints(tmp_path, {"of": "test"})
    stop = StopRequest()

    class StopInTheMiddle(Callback):
        def on_epoch(self, epoch, metrics):
            if epoch == 2:
                stop.signal = 15

    callbacks = [StopInTheMiddle(), Preemption(stop), Checkpointing(checkpoints, seconds=0.0)]
    with pytest.raises(Interrupted):
        trainer.run(values, callbacks, starts)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, {"of": "test"})
    told: list[str] = []
    resumed = trainer.run(values, [Checkpointing(checkpoints)], starts, told.append)
    checkpoints.close()
    assert told == [f"goes on from step 2 of {EPOCHS}"]
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
def test_a_loss_below_that_of_the_start_is_never_ruin_and_none_that_is_no_number_passes(
    start, loss
):
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
