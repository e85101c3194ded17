"""Cohorts: the runs that share a compiled program.

Runs that differ only in values that a program takes as arguments are lanes of one cohort; those
that differ in shapes or topology belong to different cohorts.
"""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from mnv2_jax import arch, metrics, schema, user_code, values
from mnv2_jax.ablation import grid, ids, phases, resolve
from mnv2_jax.data import sources
from mnv2_jax.data.sources import Dataset, Selection
from mnv2_jax.nn.conformance import same_network
from mnv2_jax.nn.cost import Cost, network_cost
from mnv2_jax.nn.network import jaxpr_text
from mnv2_jax.train import hparams, layouts, modes
from mnv2_jax.train.features import Features
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.input_pipeline import InputPipeline
from mnv2_jax.train.parallel import Layout
from mnv2_jax.train.step import LaneProgram

LANE_FIELDS = {**hparams.LANE_FIELDS, "transfer.start": None}
"""The config fields in which the lanes of a cohort may differ, each with the values that it may
take inside one (None: any)."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One resolved config, seed included, ready to train as a lane.

    Attributes:
      id: see `mnv2_jax.ablation.grid.run_id`.
      config: the resolved config.
      values: the lane's hyperparameters.
    """

    id: str
    config: ConfigDict
    values: HParams


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
      finished: runs of the same program that have a record, and are not trained.
    """

    runs: tuple[Run, ...]
    id: str
    dataset: Dataset
    program: LaneProgram
    cost: Cost
    label: str
    finished: tuple[Run, ...] = ()

    @functools.cached_property
    def ids(self) -> frozenset[str]:
        """Of the runs."""
        return frozenset(run.id for run in self.runs)

    @functools.cached_property
    def work(self) -> float:
        """Multiply-adds of all training passes: what the estimate of the time left goes by.

        A pass back is counted as two forward, through what trains. What is computed once, by a
        frozen base, is counted once.
        """
        program, data = self.program, self.dataset
        whole, forward = self.cost.madds, self.cost.madds / 3
        if self.feed()[0] is Features:
            images = data.training_images + len(data.validation) + len(data.test)
            return len(self.runs) * images * forward
        first = program.tuning.first if program.tuning else "stem"
        trained = set(program.spec.parts[program.spec.parts.index(first) :])
        back = sum(
            layer.madds for layer in self.cost.layers if layer.path.partition("/")[0] in trained
        )
        images = program.steps * program.recipe.batch_size
        return len(self.runs) * images * (forward + back * (whole - forward) / whole)

    @functools.cached_property
    def network_fingerprint(self) -> str:
        """Twelve hexadecimal digits of a hash of what the network computes, lanes apart.

        It changes when the code of a block changes what the block computes.
        """
        return network_fingerprint(self.program.spec)

    @functools.cached_property
    def user_files(self) -> dict[str, str]:
        """Hash of the user's files with optimizer and metrics, which `network` does not know."""
        config = self.runs[0].config
        named = (config.train.optimizer, *metrics.names(config.metrics))
        return {name: found for name in named if (found := user_code.digest(name))}

    def layout(self, lanes: int) -> tuple[Callable[[int], Layout], str]:
        """Choose a layout of so many lanes, and say why; see `mnv2_jax.train.layouts.choose`."""
        recipe = self.program.recipe
        at_once = recipe.batch_size // recipe.grad_accum_steps
        return layouts.choose(self.runs[0].config.parallel, lanes, at_once)

    def feed(self) -> tuple[type[InputPipeline], str]:
        """Choose how images come to the devices, and say why; see `mnv2_jax.train.modes`."""
        return modes.choose_input_mode(self.runs[0].config.data.mode, self.program, self.dataset)

    def __str__(self) -> str:
        return self.label


def network_fingerprint(spec: arch.NetworkSpec) -> str:
    """Return twelve hexadecimal digits of a hash of what a network computes, lanes apart."""
    text = jaxpr_text(without_lane_values(spec))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def without_lane_values(spec: arch.NetworkSpec) -> arch.NetworkSpec:
    """Return the network that stands for all that differ from it in hyperparameters of lanes."""
    blocks = tuple(
        dataclasses.replace(
            block,
            projection="linear" if block.projection in arch.CLIPS else block.projection,
            shortcut="bottleneck" if block.shortcut == "none" else block.shortcut,
        )
        for block in spec.blocks
    )
    return dataclasses.replace(spec, blocks=blocks)


def plan(
    configs: Sequence[ConfigDict], load: Callable[[Selection], Dataset] = sources.load
) -> list[Cohort]:
    """Sort runs into cohorts, in the order in which they first appear.

    Everything about every run is checked here, before anything trains.

    Args:
      configs: of the runs.
      load: opens a data set; called once for each that the configs select.

    Raises:
      ValueError: a value is wrong; the message names the field and what would be right.
      OSError: a data set cannot be read.
    """
    groups: dict[str, list[ConfigDict]] = {}
    configs = [_completed(config) for config in configs]
    for config in configs:
        resolve.check_fields(config)
        groups.setdefault(_cohort_key(config), []).append(config)
    cohorts = []
    datasets: dict[Selection, Dataset] = {}
    decoded: dict[Selection, Any] = {}
    labels = _labels([members[0] for members in groups.values()])
    for (key, members), label in zip(groups.items(), labels, strict=True):
        runs = tuple(map(_run, members))
        selection = resolve.data_selection(members[0])
        if selection not in datasets:
            found = load(selection)
            # With few images of each class or more of them, it is the same splits that are decoded.
            splits = decoded.setdefault(
                dataclasses.replace(selection, images_per_class=0), found.decoded
            )
            datasets[selection] = dataclasses.replace(found, decoded=splits)
        dataset = datasets[selection]
        # A lane that has a slope, if one has: its program takes those of all.
        whole = next(filter(_leaks, members), members[0])
        with of_phase(whole):
            lanes = resolve.lane_program(whole, dataset)
        cost = network_cost(lanes.spec)
        cohorts.append(Cohort(runs, grid.digest(key), dataset, lanes, cost, label))
        cohorts[-1].layout(len(runs))  # Raises where there is none, as does the next line.
        cohorts[-1].feed()
    _check_distinct(configs)
    return cohorts


def _check_distinct(configs: Sequence[ConfigDict]) -> None:
    """Refuse axes that change nothing: a knob that runs of a block differ in has to matter to it.

    It need not matter everywhere: where a linear projection is placed does not matter, where
    ReLU6 is placed does.

    Raises:
      ValueError: a block does not read a knob that its runs differ in, or takes two values of it
        for the same.
    """
    knobs = [knob for knob in arch.KNOBS if knob != "block"]
    by_block: dict[str, dict[tuple[Any, ...], None]] = {}  # Each setting once, whatever its seeds.
    for config in configs:
        model = config.model
        by_block.setdefault(model.block, {})[tuple(model[knob] for knob in knobs)] = None
    for block, settings in by_block.items():
        runs = [dict(zip(knobs, values, strict=True)) for values in settings]
        for knob in runs[0]:
            if len({run[knob] for run in runs}) > 1 and not _matters(block, knob, runs):
                raise ValueError(
                    f"grid: model.{knob}: with block {block!r} two of its values are the same "
                    f"network; expected values that differ, such as one alone "
                    f"(--config.model.{knob}={runs[0][knob]})"
                )


def _matters(block: str, knob: str, runs: Sequence[dict[str, Any]]) -> bool:
    """Return whether under some other settings all values of the knob make a difference."""
    values_by_others: dict[tuple[Any, ...], dict[Any, arch.BlockSpec]] = {}
    for run in runs:
        others = tuple(value for name, value in run.items() if name != knob)
        values_by_others.setdefault(others, {})[run[knob]] = arch.BlockSpec(block, **run)
    return any(
        len(specs) > 1 and not same_network(list(specs.values()))
        for specs in values_by_others.values()
    )


def _completed(config: ConfigDict) -> ConfigDict:
    if not ids.missing(config):
        return config
    whole = config.copy_and_resolve_references()
    ids.complete(whole)
    return whole


def _leaks(config: ConfigDict) -> bool:
    clip = arch.CLIPS.get(config.model.projection)
    return clip is not None and clip.slope != 0


def _run(config: ConfigDict) -> Run:
    with of_phase(config):
        return Run(grid.run_id(config), config, HParams.from_fields(grid.fields(config)))


@contextlib.contextmanager
def of_phase(config: ConfigDict) -> Iterator[None]:
    """Say of an error which phase of transfer learning it is of: each may have its own values."""
    try:
        yield
    except ValueError as error:
        if "transfer" not in config:
            raise
        phase = config.transfer.phase
        own = "" if phase == "finetuning" else f", whose own values are those of config.{phase}"
        raise ValueError(f"{error} (in the phase {phase}{own})") from None


def _labels(cohorts: Sequence[ConfigDict]) -> list[str]:
    """For cohorts given by a config each: the block, and the other fields that tell them apart."""
    fields = [grid.fields(_own(config)) for config in cohorts]
    told = phases.told_by_phase(fields)
    differing = [
        path
        for path in fields[0]
        if path != "model.block"
        and any(own[path] != fields[0][path] for own in fields)
        and path not in told
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
    return f"{name} {values.text(value)}"


def _of_lanes(path: str, value: Any) -> bool:
    """Return whether lanes of one cohort may differ in the field, and take this value in one."""
    return path in LANE_FIELDS and value in (LANE_FIELDS[path] or (value,))


def _own(config: ConfigDict) -> dict[str, Any]:
    """Return the fields that a run's program follows from: all but those of the runs before it."""
    whole = config.to_dict()
    return {name: whole[name] for name in whole if name not in schema.SECTIONS}


def _cohort_key(config: ConfigDict) -> str:
    shared = _own(config)
    for path, value in grid.fields(shared).items():
        section, _, field = path.rpartition(".")
        if _of_lanes(path, value):
            del (shared[section] if section else shared)[field]
    return grid.canonical_json(ids.without_neutral(shared))
