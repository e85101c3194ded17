"""This project as a contender: its training step, its experiments, its data."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.benchmarks.settings import Sgd
from mnv2_jax import arch, config_file
from mnv2_jax.ablation import cohort, grid, resolve
from mnv2_jax.data import rng, sources, stream
from mnv2_jax.metrics import SPLITS
from mnv2_jax.train import parallel
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram


class Step(NamedTuple):
    """Compiled training steps of lanes.

    Attributes:
      run: runs all steps for all lanes, from the same initial state each time.
      how: number of lanes per device.
      compiled: the program, for XLA's cost analysis.
    """

    run: Callable[[], Any]
    how: str
    compiled: Any


def training_step(
    spec: arch.NetworkSpec, lanes: int, batch: int, steps: int, sgd: Sgd, *, shared: bool = False
) -> Step:
    """Compile `steps` steps of training on random images for `lanes` networks at once.

    Args:
      spec: the network.
      lanes: how many networks are trained.
      batch: images per step and lane.
      steps: per call.
      sgd: the optimizer.
      shared: whether devices share every batch, instead of holding different networks.
    """
    images, labels = random_images(spec, batch * steps)
    layout = parallel.Batch(lanes) if shared else parallel.Lanes(lanes)
    recipe = Recipe(1, batch, batch, momentum=sgd.momentum)
    program = LaneProgram(spec, recipe, steps, axis_size=layout.axis_size)
    lane = HParams(
        learning_rate=np.float32(sgd.learning_rate),
        weight_decay=np.float32(sgd.weight_decay),
        label_smoothing=np.float32(sgd.label_smoothing),
    )
    values = [dataclasses.replace(lane, seed=np.uint32(seed)) for seed in range(lanes)]
    states = parallel.stack([program.initialise(0)] * lanes)
    orders = np.stack([rng.epoch_order(seed, 0, len(labels)) for seed in range(lanes)])
    per_lane = [layout.shard_lanes(tree) for tree in (states, parallel.stack(values), orders)]
    bounds = (np.int32(0), np.int32(0), np.int32(steps))
    data = layout.replicate((images, labels, *bounds))
    compiled = layout.compile(program.train, per_lane, data)
    # On the devices already, so that no call waits for a transfer.
    inputs = layout.device_put((*per_lane, *data))
    how = f"{layout.per_device} per device on {len(layout.devices)} of {jax.device_count()} devices"
    return Step(lambda: compiled.run(lanes, *inputs), how, compiled.compiled)


def random_images(spec: arch.NetworkSpec, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8 `[count, height, width, channels]`, and labels, int32 `[count]`."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *spec.input_shape), np.uint8)
    return images, generator.integers(0, spec.classes, count, np.int32)


def experiment(path: Path) -> tuple[list[ConfigDict], sources.Dataset]:
    """Return the runs of a config file, and the data set of the first one."""
    module = config_file.load(path)
    configs = grid.expand(module.get_config(), module.get_grid())
    return configs, cohort.plan(configs[:1])[0].dataset


def network_of(config: ConfigDict, dataset: sources.Dataset) -> arch.NetworkSpec:
    """Return the network of one run, its projection and shortcut included."""
    return resolve.lane_program(config, dataset).spec


def splits(dataset: sources.Dataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return images and labels by split, as plain arrays."""
    decoded = {name: stream.read(getattr(dataset, name), print)[0] for name in SPLITS}
    return {name: (arrays.images, arrays.labels) for name, arrays in decoded.items()}
