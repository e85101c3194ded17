"""Cohorts: the runs that share a compiled program.

Runs that differ only in values that a program takes as arguments are lanes of one cohort; those
that differ in shapes, topology or images belong to different cohorts.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mnv2_jax import arch, metrics, schema, user_code, values
from mnv2_jax.ablation import grid, ids, phases, resolve
from mnv2_jax.data import sources, splits
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
"""The config fields in which the lanes of a cohort may differ, each with the values that lanes may
have (None: any)."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One resolved config, seed included, ready to train as a lane.

    Attributes:
      id: see `mnv2_jax.ablation.grid.run_id`.
      config: the resolved config.
      values: the lane's hyperparameters.
      place: of the run in the grid, from 0.
    """

    id: str
    config: ConfigDict
    values: HParams
    place: int = 0


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Runs that are lanes of one program.

    Attributes:
      runs: at least one.
      id: twelve hexadecimal digits of a hash of the fields that the runs share.
      dataset: the images.
      program: the program of every lane.
      cost: the network's, for one image.
      label: for people: the block, and the fields in which the cohort differs from the others.
      finished: runs of the same program that have a record and are not trained.
      whole: the id of the cohort that this is a piece of; "" if it is none.
    """

    runs: tuple[Run, ...]
    id: str
    dataset: Dataset
    program: LaneProgram
    cost: Cost
    label: str
    finished: tuple[Run, ...] = ()
    whole: str = ""

    @functools.cached_property
    def ids(self) -> frozenset[str]:
        """The ids of the runs."""
        return frozenset(run.id for run in self.runs)

    @functools.cached_property
    def work(self) -> float:
        """Multiply-adds of training, by which the time left is estimated.

        A backward pass counts as two forward passes through the parts that train. Features of a
        frozen base are computed once and counted once.
        """
        program, data = self.program, self.dataset
        total, forward = self.cost.madds, self.cost.madds / 3
        if self.feed()[0] is Features:
            images = data.training_images + len(data.validation) + len(data.test)
            return len(self.runs) * images * forward
        first = program.tuning.first if program.tuning else "stem"
        trained = set(program.spec.parts[program.spec.parts.index(first) :])
        back = sum(
            layer.madds for layer in self.cost.layers if layer.path.partition("/")[0] in trained
        )
        images = program.steps * program.recipe.batch_size
        return len(self.runs) * images * (forward + back * (total - forward) / total)

    @functools.cached_property
    def network_fingerprint(self) -> str:
        """See the function `network_fingerprint`."""
        return network_fingerprint(self.program.spec)

    @functools.cached_property
    def user_files(self) -> dict[str, str]:
        """Hashes of the user's files, by the optimizer or metric that each defines."""
        config = self.runs[0].config
        names = (config.train.optimizer, *metrics.names(config.metrics))
        return {name: digest for name in names if (digest := user_code.digest(name))}

    def layout(self, lanes: int) -> tuple[Callable[[int], Layout], str]:
        """Choose a layout of lanes and say why; see `mnv2_jax.train.layouts.choose`."""
        recipe = self.program.recipe
        at_once = recipe.batch_size // recipe.grad_accum_steps
        return layouts.choose(self.runs[0].config.parallel, lanes, at_once)

    @property
    def evaluate_test(self) -> bool:
        """True if test images are measured at the end of a run."""
        return bool(self.runs[0].config.evaluate_test)

    def feed(self) -> tuple[type[InputPipeline], str]:
        """Choose an input pipeline and say why; see `mnv2_jax.train.modes`."""
        return modes.choose_input_mode(self.runs[0].config.data.mode, self.program, self.dataset)

    def __str__(self) -> str:
        return self.label


def network_fingerprint(spec: arch.NetworkSpec) -> str:
    """Return twelve hexadecimal digits of a hash of what a network computes.

    It is the same for all lanes of a cohort, and changes when a block's code computes something
    else.
    """
    return grid.digest(jaxpr_text(without_lane_values(spec)))


def without_lane_values(spec: arch.NetworkSpec, *, slopes: bool = False) -> arch.NetworkSpec:
    """Return the network with default values of the knobs in which lanes may differ.

    Args:
      spec: the network.
      slopes: whether a program of it takes slopes of projections, which is slower.
    """
    clip = "leaky_relu" if slopes else "linear"
    blocks = tuple(
        dataclasses.replace(
            block,
            projection=clip if block.projection in arch.CLIPS else block.projection,
            projection_slope=0.0,
            projection_bias=0.0,
            shortcut="bottleneck" if block.shortcut == "none" else block.shortcut,
            shortcut_weight=1.0,
        )
        for block in spec.blocks
    )
    return dataclasses.replace(spec, blocks=blocks)


def plan(
    configs: Sequence[ConfigDict], load: Callable[[Selection], Dataset] = sources.load
) -> list[Cohort]:
    """Group runs into cohorts, in the order in which they first appear.

    Checks everything about every run before anything trains.

    Raises:
      ValueError: a value is wrong; the message names the field and the expected values.
      OSError: a data set cannot be read.
    """
    groups: dict[str, list[ConfigDict]] = {}
    configs = [_completed(config) for config in configs]
    places = {id(config): place for place, config in enumerate(configs)}
    for config in configs:
        resolve.check_fields(config)
        groups.setdefault(_cohort_key(config), []).append(config)
    cohorts = []
    datasets: dict[Selection, Dataset] = {}  # In their own splits.
    decoded: dict[Selection, Any] = {}
    labels = _labels([members[0] for members in groups.values()])
    for (key, members), label in zip(groups.items(), labels, strict=True):
        runs = tuple(_run(config, places[id(config)]) for config in members)
        selection = resolve.data_selection(members[0])
        if selection not in datasets:
            opened = load(selection)
            # Selections that differ in images per class alone share the decoded splits.
            all_images = dataclasses.replace(selection, images_per_class=0)
            whole = decoded.setdefault(all_images, opened.decoded)
            if whole is not opened.decoded:
                opened = dataclasses.replace(opened, decoded=whole)
            datasets[selection] = opened
        dataset = splits.redrawn(datasets[selection], resolve.split_seed(members[0]))
        with of_phase(members[0]):
            program = resolve.lane_program(members[0], dataset)
        # If a projection of a lane has a slope, the program takes slopes of all lanes.
        slopes = any(np.any(run.values.knobs.slope) for run in runs)
        program = dataclasses.replace(
            program, spec=without_lane_values(program.spec, slopes=slopes)
        )
        cost = network_cost(program.spec)
        cohort = Cohort(runs, grid.digest(key), dataset, program, cost, label)
        cohort.layout(len(runs))  # It and `feed` raise if the config's choice is impossible.
        cohort.feed()
        cohorts.append(cohort)
    _check_distinct(configs)
    _check_places(cohorts)
    return cohorts


def _check_places(cohorts: Sequence[Cohort]) -> None:
    """Refuse two texts that choose the same blocks, such as "1-3" and "1,2,3"."""
    for cohort in cohorts:
        for field in ("projection_blocks", "shortcut_blocks"):
            texts: dict[frozenset[int], str] = {}
            for run in cohort.runs:
                text = run.config.model[field]
                chosen = arch.block_numbers(field, text, len(cohort.program.spec.blocks))
                if (first := texts.setdefault(chosen, text)) != text:
                    raise ValueError(
                        f"grid: model.{field}: its values {first!r} and {text!r} are the same "
                        f"blocks; expected one of them"
                    )


def _check_distinct(configs: Sequence[ConfigDict]) -> None:
    """Refuse an axis over a knob whose values make no difference to a block.

    It need not make a difference everywhere: the placement of a linear projection does not, that
    of ReLU6 does.

    Raises:
      ValueError: two values of a knob are the same network.
    """
    knobs = [knob for knob in arch.KNOBS if knob != "block"]
    by_block: dict[str, dict[tuple[Any, ...], None]] = {}  # Each setting once for all seeds.
    for config in configs:
        model = config.model
        by_block.setdefault(model.block, {})[tuple(model[knob] for knob in knobs)] = None
    for block, settings in by_block.items():
        runs = [dict(zip(knobs, setting, strict=True)) for setting in settings]
        for knob in runs[0]:
            if len({run[knob] for run in runs}) == 1:
                continue
            if same := _same_values(block, knob, runs):
                first, second = map(values.text, same)
                remedy = (
                    f"one of them, such as --config.model.{knob}={first}, or a block that reads "
                    f"{knob!r}"
                )
                if knob == "projection_slope":
                    remedy = "a projection that clips, such as relu6, beside linear or without it"
                if knob == "shortcut" and "expansion" in same:
                    remedy = (
                        "a grid without one of them, or a block that adds the last one's expanded "
                        "tensor, by `self.add_expanded(x, expanded, carry)`"
                    )
                raise ValueError(
                    f"grid: model.{knob}: with block {block!r} its values {first} and {second} are "
                    f"the same network; expected {remedy}"
                )


def _same_values(block: str, knob: str, runs: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    """Return two values of a knob that are the same network; () if all differ in some setting."""
    values_by_others: dict[tuple[Any, ...], dict[Any, arch.BlockSpec]] = {}
    for run in runs:
        others = tuple(value for name, value in run.items() if name != knob)
        values_by_others.setdefault(others, {})[run[knob]] = arch.BlockSpec(block, **run)
    same: tuple[Any, ...] = ()
    for specs in values_by_others.values():
        if len(specs) > 1:
            found = same_network(list(specs.values()))
            if not found:
                return ()
            same = same or tuple([*specs][place] for place in found)
    return same


def _completed(config: ConfigDict) -> ConfigDict:
    if not ids.missing(config):
        return config
    completed = config.copy_and_resolve_references()
    ids.complete(completed)
    return completed


def _run(config: ConfigDict, place: int) -> Run:
    with of_phase(config):
        return Run(grid.run_id(config), config, HParams.from_fields(grid.fields(config)), place)


@contextlib.contextmanager
def of_phase(config: ConfigDict) -> Iterator[None]:
    """Add the phase of transfer learning to an error: each phase may have its own values."""
    try:
        yield
    except ValueError as error:
        if "transfer" not in config:
            raise
        phase = config.transfer.phase
        own = "" if phase == "finetuning" else f", whose own values are those of config.{phase}"
        raise ValueError(f"{error} (in the phase {phase}{own})") from None


def _labels(cohorts: Sequence[ConfigDict]) -> list[str]:
    """Return a label per cohort, given a config of each: its block and the fields that differ."""
    fields = [grid.fields(_without_earlier_phases(config)) for config in cohorts]
    implied = phases.implied_by_phase(fields)
    differing = [
        path
        for path in fields[0]
        if path != "model.block"
        and path not in implied
        and any(own[path] != fields[0][path] for own in fields)
    ]
    labels = []
    for own in fields:
        shown = {path: own[path] for path in differing if not _is_lane_value(path, own)}
        parts = [f"{path.rpartition('.')[2]} {values.text(shown[path])}" for path in shown]
        labels.append(", ".join([own["model.block"], *parts]))
    return labels


def _is_lane_value(path: str, fields: Mapping[str, Any]) -> bool:
    """Return whether a cohort may have lanes with a field's value and lanes with other values."""
    if path == "seed" and fields["data.split"] == "per_seed":  # Lanes see the same images.
        return False
    decisive = hparams.WITH_OTHERS.get(path, path)
    value = fields[decisive]
    return path in LANE_FIELDS and value in (LANE_FIELDS[decisive] or (value,))


def _without_earlier_phases(config: ConfigDict) -> dict[str, Any]:
    """Return the fields that a run's program depends on: all but those of the runs before it."""
    return {name: part for name, part in config.to_dict().items() if name not in schema.SECTIONS}


def _cohort_key(config: ConfigDict) -> str:
    shared = _without_earlier_phases(config)
    fields = grid.fields(shared)
    for path in fields:
        section, _, field = path.rpartition(".")
        if _is_lane_value(path, fields):
            del (shared[section] if section else shared)[field]
    return grid.canonical_json(ids.without_neutral(shared))
