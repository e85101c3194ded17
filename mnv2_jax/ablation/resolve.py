"""Resolves a run's config into data selection, network and program."""

import contextlib
import dataclasses
import difflib
import itertools
import numbers
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mnv2_jax import arch, metrics, presets, user_code
from mnv2_jax.ablation import grid, ids, phases
from mnv2_jax.data import augment, sources, splits
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.data.sources import Dataset, Selection
from mnv2_jax.metrics import Metric
from mnv2_jax.nn import projections
from mnv2_jax.nn.blocks import block_class
from mnv2_jax.train import layouts, modes, optimizers
from mnv2_jax.train.hparams import LANE_FIELDS
from mnv2_jax.train.recipe import Recipe, optimizer
from mnv2_jax.train.state import Packed
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.tuning import Tuning, first_part

_SUBSETS = ("classes", "images_per_class")
"""The fields of a selection that are in `config.transfer`, where there is such a section."""

_SELECTION = [field.name for field in dataclasses.fields(Selection) if field.name not in _SUBSETS]

_FIELDS = (
    *("metrics", "evaluate_test", "model.preset", "model.block", "model.width", "model.depth"),
    *(f"data.{name}" for name in _SELECTION),
    *("data.split", "data.scaling", "data.mode"),
    *(f"augment.{field.name}" for field in dataclasses.fields(Augmentation)),
    *("model.conventions", *(f"model.{knob}" for knob in arch.KNOBS if knob != "block")),
    *(f"train.{field.name}" for field in dataclasses.fields(Recipe)),
    *LANE_FIELDS,
    "parallel",
)
"""The fields that a config must have."""

_AT_MOST = {
    "data.resolution": 8192,
    "model.kernel_size": 31,  # Taps are unrolled: planning takes seconds at 31, minutes at 63.
    "train.epochs": 1_000_000,
    "train.batch_size": 65_536,
    "train.evaluation_batch_size": 65_536,
}
"""Limits that no machine can exceed, checked before anything is computed."""


def check_fields(config: ConfigDict) -> None:
    """Check that a config has every field, no unknown one, and no absurdly large number.

    Raises:
      ValueError: a field is missing, unknown or too large.
    """
    fields = grid.fields(config)
    needed = {"configs/digits.py": _FIELDS}
    if "transfer" in config:
        needed["configs/transfer.py"] = tuple(f"transfer.{name}" for name in phases.FIELDS)
    for example, paths in needed.items():
        for path in paths:
            if path not in fields:
                raise ValueError(
                    f"config.{path}: the config lacks it; expected every field of {example}"
                )
    known = {*itertools.chain(*needed.values()), *ids.added()}
    for path in fields:
        if path not in known and path.partition(".")[0] not in phases.SECTIONS:
            close = difflib.get_close_matches(path, known, n=1)
            hint = f"did you mean config.{close[0]}?" if close else f"expected those of {example}"
            raise ValueError(f"config.{path}: no such field; {hint}")
    for path, most in _AT_MOST.items():
        _check(path, fields[path], fields[path] <= most, f"at most {most:,}")


def data_selection(config: ConfigDict) -> Selection:
    """Return the data that a run trains on.

    Raises:
      ValueError: a value is out of range.
    """
    with _naming("config.data"):
        selection = Selection(**{name: config.data[name] for name in _SELECTION})
    if "transfer" not in config:
        return selection
    with _naming("config.transfer"):
        return dataclasses.replace(selection, **{name: config.transfer[name] for name in _SUBSETS})


def split_seed(config: ConfigDict) -> int | None:
    """Return the seed that a run's splits are drawn by; None if they are fixed.

    Raises:
      ValueError: `config.data.split` is unknown.
    """
    with _naming("config.data"):
        arch.check_choice("split", config.data.split, splits.KINDS)
    return int(config.seed) if config.data.split == "per_seed" else None


def network(config: ConfigDict, dataset: Dataset) -> arch.NetworkSpec:
    """Return the network of a run, for the images and classes of its data set.

    Raises:
      ValueError: a value is out of range.
    """
    resolution, _, in_channels = dataset.train.shape
    model = config.model
    with _naming("config.model"):
        block_class(model.block)
        projections.check_name(model.projection)
        spec = presets.build(
            model.preset,
            width=model.width,
            depth=model.depth,
            resolution=resolution,
            in_channels=in_channels,
            classes=dataset.classes,
            conventions=model.conventions,
            projection_blocks=model.projection_blocks,
            shortcut_blocks=model.shortcut_blocks,
            block=model.block,
            **{knob: model[knob] for knob in arch.KNOBS if knob != "block"},
        )
    if "transfer" not in config:
        return spec
    with _naming("config.transfer"):
        ways = dataclasses.replace(spec.conventions, dropout=config.transfer.dropout)
    # Two classes need one logit.
    classes = 1 if dataset.classes == 2 else dataset.classes
    return dataclasses.replace(spec, classes=classes, conventions=ways)


def _tuning(config: ConfigDict, spec: arch.NetworkSpec) -> Tuning | None:
    """Return how a run tunes its base; None if it has no base."""
    if "transfer" not in config:
        return None
    phase, start = config.transfer.phase, config.transfer.start
    if not start and phase in ("extraction", "finetuning"):
        raise ValueError(
            f"config.transfer.phase={phase!r}: there is nothing that the run starts from; expected "
            f"python -m experiments.finetune, which trains phase by phase"
        )
    if not start:
        return None
    with _naming("config.transfer"):
        return Tuning(first_part(spec, config.transfer.first), config.transfer.norm)


def measured(config: ConfigDict, classes: int) -> tuple[Metric, ...]:
    """Return the metrics of a run.

    Raises:
      ValueError: see `mnv2_jax.metrics.choose`.
    """
    with _naming("config"):
        chosen = metrics.choose(metrics.names(config.metrics), classes)
        for metric in chosen:
            if metric not in metrics.METRICS.values():
                _check_metric(metric, classes)
    return chosen


def _check_metric(metric: Metric, classes: int) -> None:
    """Try a user's metric on shapes; it may raise anything."""
    logits = jax.ShapeDtypeStruct((4, classes), jnp.float32)
    labels = jax.ShapeDtypeStruct((4,), jnp.int32)
    function: Any = metric.per_image
    try:
        shape = getattr(jax.eval_shape(function, logits, labels), "shape", None)
        function = metric.finish
        value = None if shape is None else metric.finish(np.ones(shape[1:], np.float32), 4.0)
    except Exception as error:
        raise ValueError(f"metrics={metric.name!r}: {user_code.fault(error, function)}") from error
    if not shape or shape[0] != 4 or not isinstance(value, numbers.Real):
        given = f"numbers {shape} for 4 images, and {value!r} of their sums"
        raise ValueError(
            f"metrics={metric.name!r}: it gives {given}; expected [batch, ...] and a number"
        )


def _check_optimizer(recipe: Recipe) -> None:
    """Try a user's optimizer on two parameters; it may raise anything."""
    some = Packed.pack({"kernel": np.ones((3, 2), np.float32), "bias": np.ones(2, np.float32)})

    def step(vector: Any) -> Any:
        transformation = optimizer(recipe, 0.1, 0.1, some, 10)
        updates, _ = transformation.update(vector, transformation.init(vector), vector)
        return updates

    try:
        updates = jax.eval_shape(step, some.vector)
    except Exception as error:
        reason = user_code.fault(error, optimizers.find(recipe.optimizer).make)
        raise ValueError(f"optimizer={recipe.optimizer!r}: {reason}") from error
    if updates.shape != some.vector.shape:
        raise ValueError(
            f"optimizer={recipe.optimizer!r}: it gives updates of another shape; expected that of "
            f"the gradients"
        )


def lane_program(config: ConfigDict, dataset: Dataset) -> LaneProgram:
    """Return the program of a run's cohort.

    Raises:
      ValueError: a value is out of range.
    """
    spec = network(config, dataset)
    height, width, in_channels = spec.input_shape
    with _naming("config"):
        arch.check_choice("parallel", config.parallel, layouts.LAYOUTS)
        arch.check_choice("evaluate_test", config.evaluate_test, (False, True))
    train = config.train
    with _naming("config.train"):
        recipe = Recipe(**{field.name: train[field.name] for field in dataclasses.fields(Recipe)})
        if ":" in recipe.optimizer:
            _check_optimizer(recipe)
    with _naming("config.augment"):
        fields = dataclasses.fields(Augmentation)
        augmentation = Augmentation(**{field.name: config.augment[field.name] for field in fields})
        together = recipe.batch_size // recipe.grad_accum_steps
        augmentation.check((height, width), in_channels, together)
    name = dataset.name.partition(":")[0]
    mirrored = augmentation.flip and name in sources.MIRROR_CHANGES_CLASS
    _check("augment.flip", True, not mirrored, f"False: mirrored {name} are other ones")
    with _naming("config.data"):
        arch.check_choice("scaling", config.data.scaling, tuple(augment.SCALINGS))
        arch.check_choice("mode", config.data.mode, modes.MODES)
    images = dataset.training_images
    fits = train.batch_size <= images
    _check("train.batch_size", train.batch_size, fits, f"at most {images}, the training images")
    measured(config, dataset.classes)
    steps = images // recipe.batch_size
    tuning = _tuning(config, spec)
    chosen = measured(config, max(2, spec.classes))
    return LaneProgram(spec, recipe, steps, augmentation, config.data.scaling, tuning, chosen)


def _check(path: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"config.{path}={value!r}: expected {expected}")


@contextlib.contextmanager
def _naming(section: str) -> Iterator[None]:
    """Prefix errors, which begin with a field's name, with the section of the config."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from None
