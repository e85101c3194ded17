"""Resident and streamed images give the same results, and how one is chosen."""

import contextlib
import dataclasses
import time

import numpy as np
import pytest

from mnv2_jax.data import stream
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.train import loop, memory, modes, parallel, streaming
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.streaming import Streaming
from tests.train.lanes import lane


def measures(result):
    curve = [
        [epoch[name] for name in ("running_loss", "train_accuracy", "validation_accuracy")]
        for epoch in result.curve
    ]
    return [*np.ravel(curve), *result.measures.values()]


@pytest.fixture(scope="module")
def streaming_trainer(trainer):
    # Of 64 images of 64 bytes, three steps of 16: an epoch of four is two chunks, one not full.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "_CHUNK_BYTES", 3 * 16 * 64)
        yield loop.Trainer(trainer.program, trainer.dataset, parallel.Lanes(2), Streaming)


def test_resident_and_streamed_images_give_the_same_results(trainer, streaming_trainer):
    lanes = [lane(1, data_seed=0), lane(2, data_seed=0)]
    held = trainer.run(lanes)
    for one, streamed in zip(held, streaming_trainer.run(lanes), strict=True):
        np.testing.assert_allclose(measures(streamed), measures(one), rtol=1e-5, atol=1e-5)
        assert streamed.waited > 0 == one.waited
    assert held[0].curve != held[1].curve


def test_the_data_seed_decides_on_the_order_of_images(trainer):
    one, other = trainer.run([lane(1, 0), lane(1, 5)])  # With equal initial weights.
    assert one.curve[0]["running_loss"] != other.curve[0]["running_loss"]
    again, same = trainer.run([lane(1, 0), lane(1, 0)])
    assert measures(one) == measures(again) == measures(same)


def test_streaming_can_start_at_any_step(streaming_trainer):
    taken: dict[int, list[bytes]] = {}
    for begin in (0, 4, 7):
        with contextlib.closing(
            streaming_trainer.pipeline([lane()], (None, None), begin, print)
        ) as source:
            while begin < 12:
                call = source.take(begin, 1)
                order = np.asarray(call.inputs.per_lane[0])[0, 0]
                images = np.asarray(call.inputs.shared[0])[0]
                first = int(np.asarray(call.first)[0])
                for step in range(begin, call.stop):
                    chosen = order[(step - first) * 16 : (step - first + 1) * 16]
                    taken.setdefault(step, []).append(images[chosen].tobytes())
                begin = call.stop
    assert [len(taken[step]) for step in range(12)] == [1] * 4 + [2] * 3 + [3] * 5
    assert all(len(set(of_step)) == 1 for of_step in taken.values())
    assert len({of_step[0] for of_step in taken.values()}) == 12


def test_an_error_of_the_stream_reaches_training(streaming_trainer, monkeypatch):
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
def test_the_choice_has_its_reason(
    trainer, dots, monkeypatch, wish, augmentation, usable, source, why
):
    monkeypatch.setattr(memory, "usable", lambda device: usable)
    program = dataclasses.replace(trainer.program, augmentation=Augmentation(**augmentation))
    chosen, reason = modes.choose_input_mode(wish, program, dots)
    assert chosen is source
    assert reason.startswith(why)
