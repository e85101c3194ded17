"""Ten steps of training on batches shared by the devices there are; run by test_shared_batches.

  python -m tests.train.shared_batches DEVICES [PROCESSES NUMBER PORT]

Images are streamed, each process decoding its rows alone.

Prints the first lane's parameters, running moments, loss and accuracies, as JSON.
"""

import json
import sys

import jax
import numpy as np

from mnv2_jax import presets
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train import parallel
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.input_pipeline import InputPipeline
from mnv2_jax.train.loop import Trainer
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.streaming import Streaming
from tests import samples

STEPS = 10


def train(
    layout: parallel.Layout, source: type[InputPipeline] = Streaming
) -> dict[str, list[float]]:
    """Trains two lanes for ten steps, two an epoch, and evaluates them."""
    presets.PRESETS["tiny"] = samples.TINY
    spec = presets.build("tiny", expansion=2)
    program = LaneProgram(spec, Recipe(STEPS, 32, 10), 2, Augmentation(shift=1))
    # Not so fast that rounding decides on which side of a ReLU6's bounds a value falls.
    rates = [np.float32(value) for value in (0.01, 1e-3, 0.1)]
    values = [
        HParams(np.uint32(seed), np.uint32(0), Knobs.from_names("relu6", "bottleneck"), *rates)
        for seed in (1, 2)
    ]
    data = samples.dots()
    trainer = Trainer(program, data, layout, source)
    state = layout.shard_lanes(parallel.stack([program.initialise(seed) for seed in (1, 2)]))
    lanes = layout.device_put(layout.shard_lanes(parallel.stack(values)))
    feed = trainer.feed(values, (state, lanes), 0, lambda line: None)
    for start in range(0, STEPS, 2):
        call = feed.take(start, 2)
        state = trainer.advance(state, lanes, start, call)
    evaluated = (state.evaluated, lanes)
    measured = trainer.evaluator.measure(*evaluated, feed.evaluation("test"), 2)
    feed.close()
    first = layout.unstack(state)[0]
    return {
        "params": first.params.vector.tolist(),
        "batch_stats": first.batch_stats.vector.tolist(),
        "epoch": [float(value) for value in first.epoch],
        "test": [measured[0][name] for name in ("loss", "accuracy")],
    }


def main() -> None:
    """See the module."""
    devices, *processes = map(int, sys.argv[1:])
    jax.config.update("jax_num_cpu_devices", devices)
    if processes:
        count, number, port = processes
        jax.distributed.initialize(f"127.0.0.1:{port}", count, number)
    print("RESULT", json.dumps(train(parallel.Batch(2))), flush=True)


if __name__ == "__main__":
    main()
