"""Which runs share a compiled program.

Runs that differ only in values that a program takes as arguments are lanes of one cohort; those
that differ in shapes or topology belong to different cohorts.
"""

import contextlib
import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mnv2_jax import arch, presets
from mnv2_jax.ablation import distinct, grid
from mnv2_jax.data import augment, sources
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.data.sources import Dataset, Selection
from mnv2_jax.nn.blocks import block_class
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.nn.cost import Cost, network_cost
from mnv2_jax.nn.network import program
from mnv2_jax.train import parallel
from mnv2_jax.train.feed import Feed
from mnv2_jax.train.modes import MODES, choose
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram, LaneValues

LANE_FIELDS = {
    "seed": None,
    "data.order": None,
    "model.projection": None,
    # Between bottlenecks or none is a value; between expansions is another topology.
    "model.shortcut": ("bottleneck", "none"),
    "train.learning_rate": None,
    "train.weight_decay": None,
    "train.label_smoothing": None,
}
"""The config fields in which the lanes of a cohort may differ, each with the values that it may
take inside one (None: any)."""

ORDERS = ("own", "shared")
"""What `config.data.order` may be: images come and are augmented as the run's own seed says, or in
the same way in all runs, so that images that are streamed are decoded once for all seeds."""

_FIELDS = (
    *("seed", "model.preset", "model.block", "model.width", "model.depth"),
    *(f"data.{field.name}" for field in dataclasses.fields(Selection)),
    *("data.scaling", "data.mode", "data.order"),
    *(f"augment.{field.name}" for field in dataclasses.fields(Augmentation)),
    *("model.conventions", *(f"model.{knob}" for knob in arch.KNOBS if knob != "kind")),
    *(f"train.{field.name}" for field in dataclasses.fields(Recipe)),
    *("train.learning_rate", "train.weight_decay", "train.label_smoothing", "parallel"),
)
"""The fields that a config must have."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One resolved config, seed included, ready to train as a lane.

    Attributes:
      id: see `mnv2_jax.ablation.grid.run_id`.
      config: the resolved config.
      values: what the lane passes to the program.
    """

    id: str
    config: ConfigDict
    values: LaneValues


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Runs that are lanes of one program.

    Attributes:
      runs: at least one.
      id: twelve hexadecimal digits of a hash of what the runs' configs share.
      dataset: what they train on.
      program: what all of them run.
      cost: of the network, for one image.
      label: the block, and what tells the cohort from the others, for people.
    """

    runs: tuple[Run, ...]
    id: str
    dataset: Dataset
    program: LaneProgram
    cost: Cost
    label: str

    @property
    def work(self) -> float:
        """Multiply-adds of all training passes: what the estimate of the time left goes by."""
        images = self.program.steps * self.program.recipe.batch_size
        return len(self.runs) * images * self.cost.madds

    @functools.cached_property
    def network(self) -> str:
        """Twelve hexadecimal digits of a hash of what the network computes, lanes apart.

        It changes when the code of a block changes what the block computes.
        """
        spec = self.program.spec
        blocks = tuple(
            dataclasses.replace(
                block,
                projection="linear",
                shortcut="bottleneck" if block.shortcut == "none" else block.shortcut,
            )
            for block in spec.blocks
        )
        text = program(dataclasses.replace(spec, blocks=blocks))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def layout(self, lanes: int) -> tuple[Callable[[int], parallel.Layout], str]:
        """How so many lanes lie on the devices, and why; see `mnv2_jax.train.parallel.choose`."""
        recipe = self.program.recipe
        at_once = recipe.batch_size // recipe.accumulation
        return parallel.choose(self.runs[0].config.parallel, lanes, at_once)

    def feed(self) -> tuple[type[Feed], str]:
        """How images come to the devices, and why; see `mnv2_jax.train.modes.choose`."""
        return choose(self.runs[0].config.data.mode, self.program, self.dataset)

    def __str__(self) -> str:
        return self.label


def plan(
    configs: Sequence[ConfigDict], load: Callable[[Selection], Dataset] = sources.load
) -> list[Cohort]:
    """Sorts runs into cohorts, in the order in which they first appear.

    Everything about every run is checked here, before anything trains.

    Args:
      configs: of the runs.
      load: opens a data set; called once for each that the configs select.

    Raises:
      ValueError: a value is wrong; the message names the field and what would be right.
      OSError: a data set cannot be read.
    """
    groups: dict[str, list[ConfigDict]] = {}
    for config in configs:
        _check_fields(config)
        groups.setdefault(_cohort_key(config), []).append(config)
    cohorts = []
    datasets: dict[Selection, Dataset] = {}
    labels = _labels([members[0] for members in groups.values()])
    for (key, members), label in zip(groups.items(), labels, strict=True):
        runs = tuple(Run(grid.run_id(config), config, lane_values(config)) for config in members)
        selection = data_selection(members[0])
        if selection not in datasets:
            datasets[selection] = load(selection)
        dataset = datasets[selection]
        lanes = lane_program(members[0], dataset)
        identity = hashlib.sha256(key.encode()).hexdigest()[:12]
        cost = network_cost(lanes.spec)
        cohorts.append(Cohort(runs, identity, dataset, lanes, cost, label))
        cohorts[-1].layout(len(runs))  # Raises where there is none, as does the next line.
        cohorts[-1].feed()
    distinct.check(configs)
    return cohorts


def _labels(cohorts: Sequence[ConfigDict]) -> list[str]:
    """For cohorts given by a config each: the block, and the other fields that tell them apart."""
    fields = [grid.fields(config) for config in cohorts]
    differing = [
        path
        for path in fields[0]
        if path != "model.block" and any(own[path] != fields[0][path] for own in fields)
    ]
    return [
        ", ".join(
            [
                own["model.block"],
                *(_told(path, own[path]) for path in differing if not _of_lanes(path, own[path])),
            ]
        )
        for own in fields
    ]


def _told(path: str, value: Any) -> str:
    name = path.rpartition(".")[2]
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _of_lanes(path: str, value: Any) -> bool:
    """Whether lanes of one cohort may differ in the field, and take this value in one."""
    return path in LANE_FIELDS and value in (LANE_FIELDS[path] or (value,))


def lane_values(config: ConfigDict) -> LaneValues:
    """The values that a run passes to its cohort's program.

    Raises:
      ValueError: one of them is out of range.
    """
    train = config.train
    model = config.model
    _check("seed", config.seed, 0 <= config.seed < 2**32, "a whole number from 0 to 2^32 - 1")
    positive = math.isfinite(train.learning_rate) and train.learning_rate > 0
    _check("train.learning_rate", train.learning_rate, positive, "a number above 0")
    decay = math.isfinite(train.weight_decay) and train.weight_decay >= 0
    _check("train.weight_decay", train.weight_decay, decay, "a number, 0 or more")
    smoothing = train.label_smoothing
    _check("train.label_smoothing", smoothing, 0 <= smoothing < 1, "0 or more, below 1")
    order = config.data.order
    _check("data.order", order, order in ORDERS, f"one of {', '.join(ORDERS)}")
    for name, allowed in (("projection", arch.PROJECTIONS), ("shortcut", arch.SHORTCUTS)):
        _check(f"model.{name}", model[name], model[name] in allowed, f"one of {', '.join(allowed)}")
    return LaneValues(
        seed=np.uint32(config.seed),
        # Shared by all seeds: images come as to a run of seed 0.
        data_seed=np.uint32(config.seed if config.data.order == "own" else 0),
        knobs=Knobs.of(model.projection, model.shortcut),
        learning_rate=np.float32(train.learning_rate),
        weight_decay=np.float32(train.weight_decay),
        label_smoothing=np.float32(smoothing),
    )


def data_selection(config: ConfigDict) -> Selection:
    """What a run trains on.

    Raises:
      ValueError: a value is out of range.
    """
    with _naming("config.data"):
        fields = dataclasses.fields(Selection)
        return Selection(**{field.name: config.data[field.name] for field in fields})


def lane_program(config: ConfigDict, dataset: Dataset) -> LaneProgram:
    """The program of a run's cohort: the network fitted to the data set, and the recipe.

    Raises:
      ValueError: a value is out of range.
    """
    resolution, _, in_channels = dataset.train.shape
    model = config.model
    with _naming("config.model"):
        block_class(model.block)
        spec = presets.build(
            model.preset,
            width=model.width,
            depth=model.depth,
            resolution=resolution,
            in_channels=in_channels,
            classes=dataset.classes,
            conventions=model.conventions,
            kind=model.block,
            **{knob: model[knob] for knob in arch.KNOBS if knob != "kind"},
        )
    with _naming("config"):
        arch.check_choice("parallel", config.parallel, parallel.LAYOUTS)
    train = config.train
    with _naming("config.train"):
        recipe = Recipe(**{field.name: train[field.name] for field in dataclasses.fields(Recipe)})
    with _naming("config.augment"):
        fields = dataclasses.fields(Augmentation)
        augmentation = Augmentation(**{field.name: config.augment[field.name] for field in fields})
        augmentation.check(in_channels, recipe.batch_size // recipe.accumulation)
    with _naming("config.data"):
        arch.check_choice("scaling", config.data.scaling, tuple(augment.SCALINGS))
        arch.check_choice("mode", config.data.mode, MODES)
    images = len(dataset.train)
    fits = train.batch_size <= images
    _check("train.batch_size", train.batch_size, fits, f"at most {images}, the training images")
    return LaneProgram(spec, recipe, images // recipe.batch_size, augmentation, config.data.scaling)


def _check_fields(config: ConfigDict) -> None:
    found = grid.fields(config)
    for path in _FIELDS:
        if path not in found:
            raise ValueError(
                f"config.{path}: the config lacks it; expected every field of configs/digits.py"
            )


def _cohort_key(config: ConfigDict) -> str:
    shared = ConfigDict(config.to_dict())
    for path in LANE_FIELDS:
        section, _, field = path.rpartition(".")
        holder = shared[section] if section else shared
        if _of_lanes(path, holder[field]):
            del holder[field]
    return grid.canonical_json(shared)


def _check(path: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"config.{path}={value!r}: expected {expected}")


@contextlib.contextmanager
def _naming(section: str) -> Iterator[None]:
    """Puts the config's section before the field that an error inside names."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from None
