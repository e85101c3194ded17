"""Hyperparameters in which the lanes of one compiled program may differ, each declared once.

A declaration in `HParams` has the config's fields that it is made of, its type and its range; the
training step reads it as `values.NAME`. All other fields of the config are part of the program:
runs that differ in them belong to different cohorts.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import jax
import numpy as np

from mnv2_jax import arch, presets
from mnv2_jax.nn import projections
from mnv2_jax.nn.blocks.base import Knobs

ORDERS = ("own", "shared")
"""The choices of `config.data.order`: the order and augmentation of images follow the run's own
seed, or are the same in all runs, so that streamed images are decoded once for all seeds."""

Check = Callable[[str, Any], None]
"""Raises ValueError, naming the field, unless the value is right; takes the name and the value."""


def _made_of(
    checks: Mapping[str, Check],
    convert: Callable[..., Any],
    mixable: Mapping[str, tuple[Any, ...]] | None = None,
    with_others: Mapping[str, str] | None = None,
    shared: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Declare a hyperparameter, as metadata of its field in `HParams`.

    Args:
      checks: by path, the config's fields that it is made of, each with its check.
      convert: makes it from their values.
      mixable: by path, the values that one program may mix, if not all.
      with_others: by path, the field whose value decides that instead.
      shared: paths of further fields that it is made of, the same in all lanes of a program.
    """
    return {
        "checks": checks,
        "convert": convert,
        "mixable": mixable or {},
        "with_others": with_others or {},
        "shared": shared,
    }


def _scalar(path: str, holds: Callable[[Any], bool], expected: str) -> dict[str, Any]:
    return _made_of({path: _number(holds, expected)}, np.float32)


def _number(holds: Callable[[Any], bool], expected: str) -> Check:
    def check(name: str, value: Any) -> None:
        if not holds(value):
            raise ValueError(f"{name}={value!r}: expected {expected}")

    return check


def _one_of(allowed: tuple[str, ...]) -> Check:
    return lambda name, value: arch.check_choice(name, value, allowed)


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name}={value!r}: expected a text")


def _knobs(*values: Any) -> Knobs:
    """Return the knobs of a network, given the values of `_OF_KNOBS` and of preset and depth."""
    names = (*(path.partition(".")[2] for path in _OF_KNOBS), "preset", "depth")
    return Knobs.of_blocks(presets.build(**dict(zip(names, values, strict=True))).blocks)


_OF_KNOBS: dict[str, Check] = {
    "model.projection": lambda name, value: projections.check_name(value),
    "model.projection_slope": arch.check_share,
    "model.projection_blocks": _text,
    "model.shortcut": _one_of(arch.SHORTCUTS),
    "model.shortcut_weight": arch.check_share,
    "model.shortcut_blocks": _text,
}
"""The config's fields that knobs are made of, each with its check."""

_SEED = _number(lambda seed: 0 <= seed < 2**32, "a whole number from 0 to 2^32 - 1")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HParams:
    """The hyperparameters of a lane: one set per run; the defaults are examples.

    All but the knobs are scalars.

    Attributes:
      seed: of initial weights and dropout.
      data_seed: of the order of images and their augmentation; 0 where `config.data.order` is
        "shared".
      knobs: projection and shortcut of each block.
      projection_bias: see `mnv2_jax.arch.BlockSpec`; the initial state has it, steps do not read
        it.
      learning_rate: the highest of the schedule, above 0.
      weight_decay: 0 or more; with SGD and RMSProp an L2 term in gradients, otherwise decoupled.
        See `mnv2_jax.train.recipe.optimizer`.
      label_smoothing: the share of a target spread over all classes, 0 or more, below 1. Szegedy et
        al. 2016.
    """

    seed: Any = field(default=np.uint32(0), metadata=_made_of({"seed": _SEED}, np.uint32))
    data_seed: Any = field(
        default=np.uint32(0),
        metadata=_made_of(
            {"seed": _SEED, "data.order": _one_of(ORDERS)},
            lambda seed, order: np.uint32(seed if order == "own" else 0),
        ),
    )
    knobs: Knobs = field(
        default=Knobs.of(arch.BlockSpec()),
        metadata=_made_of(
            _OF_KNOBS,
            _knobs,
            # Other values are other topologies: functions, shortcuts between expansions.
            mixable={
                "model.projection": tuple(arch.CLIPS),
                "model.shortcut": ("bottleneck", "none"),
            },
            with_others={
                "model.projection_blocks": "model.projection",
                "model.shortcut_blocks": "model.shortcut",
            },
            shared=("model.preset", "model.depth"),
        ),
    )
    projection_bias: Any = field(
        default=np.float32(0.0),
        metadata=_scalar("model.projection_bias", math.isfinite, "a finite number"),
    )
    learning_rate: Any = field(
        default=np.float32(0.1),
        metadata=_scalar(
            "train.learning_rate", lambda rate: 0 < rate < math.inf, "a number above 0"
        ),
    )
    weight_decay: Any = field(
        default=np.float32(0.0),
        metadata=_scalar(
            "train.weight_decay", lambda decay: 0 <= decay < math.inf, "a number, 0 or more"
        ),
    )
    label_smoothing: Any = field(
        default=np.float32(0.0),
        metadata=_scalar(
            "train.label_smoothing", lambda share: 0 <= share < 1, "0 or more, below 1"
        ),
    )

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], knobs: Knobs | None = None) -> "HParams":
        """Read the hyperparameters of a run from the fields of its config, by path.

        Args:
          fields: of the config.
          knobs: of its network, if that is at hand; by default those of its preset.

        Raises:
          ValueError: one of them is out of range.
        """
        values: dict[str, Any] = {} if knobs is None else {"knobs": knobs}
        for declared in dataclasses.fields(cls):
            if declared.name in values:
                continue
            checks = declared.metadata["checks"]
            for path, check in checks.items():
                section, dot, name = path.rpartition(".")
                try:
                    check(name, fields[path])
                except ValueError as error:
                    raise ValueError(f"config.{section}{dot}{error}") from None
            paths = (*checks, *declared.metadata["shared"])
            try:
                converted = declared.metadata["convert"](*(fields[path] for path in paths))
            except ValueError as error:
                raise ValueError(f"config.{paths[0].rpartition('.')[0]}.{error}") from None
            values[declared.name] = converted
        return cls(**values)


_DECLARED = [declared.metadata for declared in dataclasses.fields(HParams)]

LANE_FIELDS: dict[str, tuple[Any, ...] | None] = {
    path: one["mixable"].get(path) for one in _DECLARED for path in one["checks"]
}
"""The config's fields in which the lanes of a cohort may differ, each with the values that may be
mixed (None: any)."""

WITH_OTHERS: dict[str, str] = {
    path: other for one in _DECLARED for path, other in one["with_others"].items()
}
"""Those of them that lanes may differ in where the value of another one may be mixed."""
