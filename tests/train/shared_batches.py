"""Ten steps of training on batches shared by all devices; run by test_shared_batches.

  python -m tests.train.shared_batches DEVICES PROCESSES NUMBER PORT

Images are streamed, each process decoding its rows alone.

Prints the first lane's parameters, running moments, loss and accuracies, as JSON.
"""

import contextlib
import json
import sys

import jax

from mnv2_jax import presets
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.train import parallel
from mnv2_jax.train.input_pipeline import InputPipeline
from mnv2_jax.train.loop import Trainer
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.streaming import Streaming
from tests import samples
from tests.train.lanes import lane

STEPS = 10


def train(
    layout: parallel.Layout, source: type[InputPipeline] = Streaming
) -> dict[str, list[float]]:
    """Train two lanes for ten steps, two an epoch, and evaluate them."""
    presets.PRESETS["tiny"] = samples.TINY
    spec = presets.build("tiny", expansion=2)
    augmentation = Augmentation(shift=1, flip=True, brightness=0.2, cutout=2)
    program = LaneProgram(spec, Recipe(STEPS, 32, 10), 2, augmentation)
    # At a higher rate, rounding would decide on which side of ReLU6's bounds a value falls.
    values = [lane(seed, data_seed=0, projection="relu6", learning_rate=0.01) for seed in (1, 2)]
    data = samples.dots()
    trainer = Trainer(program, data, layout, source)
    state = layout.shard_lanes(parallel.stack([program.initialise(seed) for seed in (1, 2)]))
    lanes = layout.device_put(layout.shard_lanes(parallel.stack(values)))
    with contextlib.closing(trainer.pipeline(values, (state, lanes), 0, print)) as pipeline:
        for start in range(0, STEPS, 2):
            state = trainer.advance(state, lanes, start, pipeline.take(start, 2))
        batches = pipeline.evaluation("test")
        measured = trainer.evaluator.measure(state.evaluated, lanes, batches, 2)
    first = layout.unstack(state)[0]
    return {
        "params": first.params.vector.tolist(),
        "batch_stats": first.batch_stats.vector.tolist(),
        "epoch": [float(value) for value in first.epoch],
        "test": [measured[0][name] for name in ("loss", "accuracy")],
    }


def main() -> None:
    """See the module."""
    devices, processes, number, port = map(int, sys.argv[1:])
    jax.config.update("jax_num_cpu_devices", devices)
    jax.distributed.initialize(f"127.0.0.1:{port}", processes, number)
    print("RESULT", json.dumps(train(parallel.Batch(2))), flush=True)


if __name__ == "__main__":
    main()
