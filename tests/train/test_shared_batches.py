"""Devices and processes that share batches train as one device does on the whole batches.

Run as a module, this is one of several processes; it prints its result as JSON:

  python -m tests.train.test_shared_batches DEVICES PROCESSES NUMBER PORT
"""

import contextlib
import json
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from mnv2_jax import presets
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.train import parallel
from mnv2_jax.train.loop import Trainer
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.streaming import Streaming
from tests import commands, samples
from tests.train.lanes import lane

pytestmark = pytest.mark.slow

STEPS = 10


def train(layout, source=Streaming):
    """Train two lanes, two steps an epoch, and evaluate them; return numbers of the first one."""
    presets.PRESETS["tiny"] = samples.TINY
    augmentation = Augmentation(shift=1, flip=True, brightness=0.2, cutout=2)
    recipe = Recipe(STEPS, batch_size=32, evaluation_batch_size=10)
    program = LaneProgram(presets.build("tiny", expansion=2), recipe, 2, augmentation)
    # At a higher rate, rounding would decide on which side of ReLU6's bounds a value falls.
    values = [lane(seed, data_seed=0, projection="relu6", learning_rate=0.01) for seed in (1, 2)]
    trainer = Trainer(program, samples.dots(), layout, source)
    state = layout.shard_lanes(parallel.stack([program.initialise(seed) for seed in (1, 2)]))
    lanes = layout.device_put(layout.shard_lanes(parallel.stack(values)))
    with contextlib.closing(trainer.pipeline(values, (state, lanes), 0, print)) as pipeline:
        for start in range(0, STEPS, 2):
            state = trainer.advance(2, state, lanes, start, pipeline.take(start, 2))
        batches = pipeline.evaluation("test")
        measured = trainer.evaluator.measure(state.evaluated, lanes, batches, 2)
    first = layout.unstack(state)[0]
    predictions = measured[0].predictions.first(len(trainer.dataset.test))
    return {
        "params": first.params.vector.tolist(),
        "batch_stats": first.batch_stats.vector.tolist(),
        "epoch": [float(value) for value in first.epoch],
        "test": [measured[0].metrics[name] for name in ("loss", "accuracy")],
        "predicted": predictions.predicted.tolist(),
        "labels": predictions.labels.tolist(),
    }


@pytest.fixture(scope="module")
def alone():
    return train(parallel.Lanes(2, jax.local_devices()[:1]), Resident)


def assert_same(found, expected):
    for name in ("params", "batch_stats"):
        found_part, expected_part = (np.array(part[name]) for part in (found, expected))
        difference = np.linalg.norm(found_part - expected_part) / np.linalg.norm(expected_part)
        assert difference < 1e-4, name
        assert np.ptp(expected_part) > 0  # It is training.
    np.testing.assert_allclose(found["epoch"], expected["epoch"], rtol=1e-4)
    np.testing.assert_allclose(found["test"], expected["test"], rtol=1e-4)
    assert found["labels"] == expected["labels"]
    assert found["predicted"] == expected["predicted"]


def test_two_devices(alone):
    assert_same(train(parallel.Batch(2)), alone)


def test_two_processes_of_two_devices(alone):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.train.test_shared_batches", "2", "2"]
    processes = [
        subprocess.Popen(
            [*command, str(number), str(port)],
            cwd=commands.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (0, 1)
    ]
    for process in processes:
        out, err = process.communicate(timeout=commands.SECONDS)
        assert process.returncode == 0, err
        (line,) = [line for line in out.splitlines() if line.startswith("RESULT ")]
        assert_same(json.loads(line.removeprefix("RESULT ")), alone)


if __name__ == "__main__":
    devices, processes, number, port = map(int, sys.argv[1:])
    jax.config.update("jax_num_cpu_devices", devices)
    jax.distributed.initialize(f"127.0.0.1:{port}", processes, number)
    print("RESULT", json.dumps(train(parallel.Batch(2))), flush=True)
