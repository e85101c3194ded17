"""Resident and streamed images come to the same, and how one is chosen."""

import contextlib
import dataclasses
import time

import numpy as np
import pytest

from mnv2_jax import presets
from mnv2_jax.data import stream
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train import loop, memory, modes, parallel, streaming
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.streaming import Streaming

RECIPE = Recipe(epochs=3, batch_size=16, evaluation_batch_size=20)


def lane(seed, data_seed=0):
    rates = (np.float32(0.05), np.float32(1e-3), np.float32(0.0))
    knobs = Knobs.from_names("linear", "bottleneck")
    return HParams(np.uint32(seed), np.uint32(data_seed), knobs, *rates)


@pytest.fixture(scope="module")
def spec(tiny):
    return presets.build(tiny, expansion=2)


@pytest.fixture(scope="module")
def few_steps_at_a_time():
    # Of 64 images of 64 bytes, three steps of 16: an epoch of four is two chunks, one not full.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "_CHUNK_BYTES", 3 * 16 * 64)
        yield


@pytest.fixture(scope="module")
def program(spec):
    return LaneProgram(spec, RECIPE, 4)


def measures(result):
    curve = [
        [epoch[name] for name in ("train_loss", "train_accuracy", "validation_accuracy")]
        for epoch in result.curve
    ]
    return [*np.ravel(curve), *result.measures.values()]


@pytest.fixture(scope="module")
def resident(program, dots):
    return loop.Trainer(program, dots, parallel.Lanes(2), Resident)


@pytest.fixture(scope="module")
def streaming_trainer(program, dots, few_steps_at_a_time):
    return loop.Trainer(program, dots, parallel.Lanes(2), Streaming)


def assert_same(trainer, other):
    lanes = [lane(1), lane(2)]
    found = trainer.run(lanes), other.run(lanes)
    for one, streamed in zip(*found, strict=True):
        np.testing.assert_allclose(measures(streamed), measures(one), rtol=1e-5, atol=1e-5)
        assert streamed.waited > 0 == one.waited
    assert found[0][0].curve != found[0][1].curve


def test_resident_and_streaming_come_to_the_same(resident, streaming_trainer):
    assert_same(resident, streaming_trainer)


@pytest.mark.slow
def test_they_do_where_devices_share_batches_and_images_are_augmented(
    program, dots, few_steps_at_a_time
):
    augmentation = Augmentation(shift=1, flip=True, brightness=0.2, cutout=2)
    augmented = dataclasses.replace(program, augmentation=augmentation)
    layout = parallel.Batch(2)
    assert_same(*(loop.Trainer(augmented, dots, layout, feed) for feed in (Resident, Streaming)))


def test_a_seed_of_the_data_is_their_order(resident):
    # Equal initial weights, and images in another order.
    one, other = resident.run([lane(1, 0), lane(1, 5)])
    assert one.curve[0]["train_loss"] != other.curve[0]["train_loss"]
    again, same = resident.run([lane(1, 0), lane(1, 0)])
    assert measures(one) == measures(again) == measures(same)


def test_training_goes_on_at_any_step(program, dots, few_steps_at_a_time):
    layout = parallel.Lanes(1)
    parts = (program, dots, layout, 0)
    taken: dict[int, list[bytes]] = {}
    for begin in (0, 4, 7):
        with contextlib.closing(Streaming(*parts, begin, 0, print)) as source:
            while begin < 12:
                call = source.take(begin, 1)
                order = np.asarray(call.inputs.of_lanes[0])[0, 0]
                images = np.asarray(call.inputs.shared[0])[0]
                first = int(np.asarray(call.first)[0])
                for step in range(begin, call.stop):
                    chosen = order[(step - first) * 16 : (step - first + 1) * 16]
                    taken.setdefault(step, []).append(images[chosen].tobytes())
                begin = call.stop
    assert [len(taken[step]) for step in range(12)] == [1] * 4 + [2] * 3 + [3] * 5
    assert all(len(set(of_step)) == 1 for of_step in taken.values())
    assert len({of_step[0] for of_step in taken.values()}) == 12


def test_a_fault_of_the_stream_reaches_training(streaming_trainer, monkeypatch):
    def broken(self, step):
        raise OSError(5, "Input/output error", "shard")

    monkeypatch.setattr(stream.TrainBatches, "__getitem__", broken)
    with pytest.raises(OSError, match="shard"):
        streaming_trainer.run([lane(0)])


def test_time_that_training_waits_is_counted(streaming_trainer, monkeypatch):
    get = stream.TrainBatches.__getitem__

    def slow(self, step):
        time.sleep(0.02)
        return get(self, step)

    monkeypatch.setattr(stream.TrainBatches, "__getitem__", slow)
    (result,) = streaming_trainer.run([lane(0)])
    assert 0.02 < result.waited < result.seconds


@pytest.mark.parametrize(
    ("wish", "augmentation", "usable", "source", "why"),
    [
        ("auto", {}, 2**20, Resident, "resident: 94 images take 0.0 MiB of memory"),
        ("auto", {}, 94 * 64 * 2, Streaming, "streaming: 94 images take"),
        ("auto", {"crop_area": 0.5}, 2**20, Streaming, "streaming: augmentation begins from"),
        ("streaming", {}, 2**20, Streaming, "streaming: as asked for"),
        ("resident", {}, 1, Resident, "resident: as asked for"),
    ],
)
def test_what_is_chosen_is_said(spec, dots, monkeypatch, wish, augmentation, usable, source, why):
    monkeypatch.setattr(memory, "usable", lambda device: usable)
    program = LaneProgram(spec, RECIPE, 4, Augmentation(**augmentation))
    found, said = modes.choose_input_mode(wish, program, dots)
    assert found is source
    assert said.startswith(why)
