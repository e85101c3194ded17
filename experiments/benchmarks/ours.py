"""Everything that the benchmarks ask of the engine: the only place here that imports it."""

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.benchmarks.settings import Sgd
from mnv2_jax import arch, config_file, presets
from mnv2_jax.ablation import cohort, grid, resolve
from mnv2_jax.data import draws, sources, stream
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.data.images import Images
from mnv2_jax.data.stored.records import Record
from mnv2_jax.train import parallel, runlog
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.loop import Trainer
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.streaming import Streaming

use_all_cores = parallel.use_all_cores
run_id = grid.run_id


class Step(NamedTuple):
    """Training steps of lanes, compiled.

    Attributes:
      run: takes all of a call's steps for all lanes, from the same initial state each time.
      how: how the lanes lie on the devices.
      compiled: the program, for what XLA says of it.
    """

    run: Callable[[], Any]
    how: str
    compiled: Any


def training_step(
    spec: arch.NetworkSpec, lanes: int, batch: int, steps: int, sgd: Sgd, *, shared: bool = False
) -> Step:
    """Compiles `steps` steps of training on random images for `lanes` networks at once.

    Args:
      spec: the network.
      lanes: how many networks are trained.
      batch: images per step and lane.
      steps: per call.
      sgd: the optimizer.
      shared: devices share every batch, where otherwise they hold different networks.
    """
    images, labels = random_images(spec, batch * steps)
    layout = parallel.Batch(lanes) if shared else parallel.Lanes(lanes)
    recipe = Recipe(1, batch, batch, momentum=sgd.momentum)
    program = LaneProgram(spec, recipe, steps, parts=layout.parts)
    lane = HParams.example().replace(
        learning_rate=np.float32(sgd.learning_rate),
        weight_decay=np.float32(sgd.weight_decay),
        label_smoothing=np.float32(sgd.label_smoothing),
    )
    values = [lane.replace(seed=np.uint32(seed)) for seed in range(lanes)]
    states = parallel.stack([program.initialise(0)] * lanes)
    orders = np.stack([draws.epoch_order(seed, 0, len(labels)) for seed in range(lanes)])
    of_lanes = [layout.spread(tree) for tree in (states, parallel.stack(values), orders)]
    bounds = (np.int32(0), np.int32(0), np.int32(steps))
    data = layout.share((images, labels, *bounds))
    compiled = layout.compile(program.train, of_lanes, data).run
    # On the devices, so that no call waits for them to travel there.
    inputs = layout.place((*of_lanes, *data))
    how = f"{layout.per_device} per device on {len(layout.devices)} of {jax.device_count()} devices"
    return Step(lambda: compiled(*inputs), how, compiled)


def random_images(spec: arch.NetworkSpec, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 `[count, height, width, channels]`, and labels, int32 `[count]`."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *spec.input_shape), np.uint8)
    return images, generator.integers(0, spec.classes, count, np.int32)


class Experiment(NamedTuple):
    """The runs of a config file.

    Attributes:
      configs: one per run.
      cohorts: the same, as they share programs.
    """

    configs: list[ConfigDict]
    cohorts: list[cohort.Cohort]

    @property
    def dataset(self) -> sources.Dataset:
        """What the first cohort trains on."""
        return self.cohorts[0].dataset


def experiment(path: Path) -> Experiment:
    """Reads a config file as `experiments.ablate` does."""
    module = config_file.load(path)
    config = module.get_config()
    configs = grid.expand(config, module.get_grid())
    return Experiment(configs, cohort.plan(configs))


def network_of(config: ConfigDict, dataset: sources.Dataset) -> arch.NetworkSpec:
    """The network of one run, its projection and shortcut included."""
    return resolve.lane_program(config, dataset).spec


def time_in_programs(part: cohort.Cohort) -> tuple[float, float]:
    """Trains a cohort; the seconds of that, and those of them spent waiting for its programs.

    Every call of a program is waited for, so that none hides behind the host's own work.
    """
    spent: list[float] = []

    def timed(run: Callable[..., Any]) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            start = time.perf_counter()
            result = jax.block_until_ready(run(*inputs))
            spent.append(time.perf_counter() - start)
            return result

        return call

    trainer = Trainer(part.program, part.dataset, parallel.Lanes(len(part.runs)))
    evaluator = trainer.evaluator
    trainer.train, evaluator.compiled = (
        program._replace(run=timed(program.run)) for program in (trainer.train, evaluator.compiled)
    )
    start = time.perf_counter()
    trainer.run([run.values for run in part.runs])
    return time.perf_counter() - start, sum(spent)


class Jpegs:
    """A data set of as many images as ImageNet has, of which few are different ones."""

    def __init__(self, jpegs: Sequence[bytes]) -> None:
        self._jpegs = jpegs

    def __len__(self) -> int:
        return 1_281_167

    def __getitem__(self, index: int) -> Record:
        return Record(self._jpegs[index % len(self._jpegs)], index % 1000, f"image {index}")


def streamed(
    jpegs: Sequence[bytes], resolution: int, area: float, batch: int, workers: int
) -> Generator[Any]:
    """Batches of random-resized crops, decoded ahead."""
    batches = stream.TrainBatches(
        Images(Jpegs(jpegs), (resolution, resolution, 3)),
        *(0, batch, 1, range(batch)),
        Augmentation(crop_area=area),
    )
    return stream.iterate(batches, 0, workers)


def waiting(
    jpegs: Sequence[bytes], resolution: int, area: float, steps: int, workers: int
) -> tuple[float, float]:
    """Trains MobileNetV2 on streamed images: seconds it waits for them, and seconds in all.

    The first steps, brought together while workers start, are not counted.
    """
    batch = 32
    images = Images(Jpegs(jpegs), (resolution, resolution, 3))
    dataset = sources.Dataset("jpegs", tuple(map(str, range(1000))), images, images, images)
    recipe = Recipe(1, batch, batch)
    spec = presets.build("mobilenet_v2", resolution=resolution)
    program = LaneProgram(spec, recipe, len(images) // batch, Augmentation(crop_area=area))
    trainer = Trainer(program, dataset, parallel.Lanes(1), Streaming, workers)
    values = [HParams.example()]
    layout = trainer.layout
    state = layout.spread(parallel.stack([program.initialise(0)]))
    lanes = layout.spread(parallel.stack(values))
    step, began, before = 0, 0.0, 0.0
    with contextlib.closing(trainer.feed(values, (state, lanes), 0, print)) as feed:
        while step < steps:
            call = feed.take(step, 1)
            state = trainer.advance(state, lanes, step, call)
            jax.block_until_ready(state)
            step = call.stop
            if int(call.first[0]) == 0:
                began, before = time.perf_counter(), feed.waited
        return feed.waited - before, time.perf_counter() - began


def machine() -> dict[str, Any]:
    """Device, processor and jax's versions."""
    made = runlog.environment("")
    libraries = {name: made["libraries"][name] for name in ("jax", "jaxlib")}
    return {"device": made["device"], "processor": made["processor"], **libraries}


def checkout() -> dict[str, Any]:
    """The commit, and whether the code was changed since."""
    made = runlog.environment("")
    return {"commit": made["commit"], "dirty": made["dirty"]}


def splits(dataset: sources.Dataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels by split, as plain arrays."""
    decoded = {name: stream.read(getattr(dataset, name), print)[0] for name in sources.SPLITS}
    return {name: (arrays.images, arrays.labels) for name, arrays in decoded.items()}
