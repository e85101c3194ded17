"""Hyperparameters in which the lanes of one compiled program may differ, each declared once.

A declaration in `HParams` names the config's field, its type and its range; a training step reads
the value as `hparams.NAME`. A field of the config that is not declared here is part of the program:
runs that differ in it belong to different cohorts.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

import jax
import numpy as np

from mnv2_jax import arch
from mnv2_jax.nn import projections
from mnv2_jax.nn.blocks.base import Knobs

ORDERS = ("own", "shared")
"""The choices of `config.data.order`: images come and are augmented as the run's own seed says, or
in the same way in all runs, so that images that are streamed are decoded once for all seeds."""

Check = Callable[[str, Any], None]
"""Raises ValueError, naming a field by the name that it is given, unless a value is right."""


@dataclasses.dataclass(frozen=True)
class _Declared:
    """The declaration of a hyperparameter.

    Attributes:
      fields: the config's fields that it follows from, by path, each with its check.
      convert: makes the value of those of the fields.
      example: right values of the fields.
      inside: by path the values that one program may mix, where not all may be.
    """

    fields: Mapping[str, Check]
    convert: Callable[..., Any]
    example: tuple[Any, ...]
    inside: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)


def _number(holds: Callable[[Any], bool], expected: str) -> Check:
    def check(name: str, value: Any) -> None:
        if not holds(value):
            raise ValueError(f"{name}={value!r}: expected {expected}")

    return check


def _one_of(allowed: tuple[str, ...]) -> Check:
    return lambda name, value: arch.check_choice(name, value, allowed)


_SEED = _number(lambda seed: 0 <= seed < 2**32, "a whole number from 0 to 2^32 - 1")


def _scalar(path: str, holds: Callable[[Any], bool], expected: str, example: float) -> _Declared:
    """Declare one number of the config."""
    return _Declared({path: _number(holds, expected)}, np.float32, (example,))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HParams:
    """The hyperparameters of a lane: scalars, one set per run.

    Attributes:
      seed: of initial weights and dropout.
      data_seed: of the order of images and their augmentation; where the config has it shared,
        images come as to a run of seed 0.
      knobs: projection and shortcut.
      learning_rate: highest of the schedule, above 0.
      weight_decay: of SGD and RMSProp an L2 term in gradients, else decoupled; 0 or more. See
        `mnv2_jax.train.recipe.optimizer`.
      label_smoothing: share of a target spread over all classes, 0 or more, below 1. Szegedy et al.
        2016.
    """

    seed: Annotated[Any, _Declared({"seed": _SEED}, np.uint32, (0,))]
    data_seed: Annotated[
        Any,
        _Declared(
            {"seed": _SEED, "data.order": _one_of(ORDERS)},
            lambda seed, order: np.uint32(seed if order == "own" else 0),
            (0, "own"),
        ),
    ]
    knobs: Annotated[
        Knobs,
        _Declared(
            {
                "model.projection": lambda name, value: projections.check_name(value),
                "model.shortcut": _one_of(arch.SHORTCUTS),
            },
            Knobs.from_names,
            ("linear", "bottleneck"),
            # What is left out is another topology: functions, shortcuts between expansions.
            inside={
                "model.projection": tuple(arch.CLIPS),
                "model.shortcut": ("bottleneck", "none"),
            },
        ),
    ]
    learning_rate: Annotated[
        Any,
        _scalar("train.learning_rate", lambda rate: 0 < rate < math.inf, "a number above 0", 0.1),
    ]
    weight_decay: Annotated[
        Any,
        _scalar(
            "train.weight_decay", lambda decay: 0 <= decay < math.inf, "a number, 0 or more", 0.0
        ),
    ]
    label_smoothing: Annotated[
        Any,
        _scalar("train.label_smoothing", lambda share: 0 <= share < 1, "0 or more, below 1", 0.0),
    ]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "HParams":
        """Read the hyperparameters of a run.

        Args:
          fields: those of its config, by path.

        Raises:
          ValueError: one of them is out of range.
        """
        values = {}
        for name, declared in _declarations().items():
            for path, check in declared.fields.items():
                section, dot, field = path.rpartition(".")
                try:
                    check(field, fields[path])
                except ValueError as error:
                    raise ValueError(f"config.{section}{dot}{error}") from None
            values[name] = declared.convert(*(fields[path] for path in declared.fields))
        return cls(**values)

    @classmethod
    def example(cls) -> "HParams":
        """Return hyperparameters of no run, such as for their shapes."""
        return cls(**{name: one.convert(*one.example) for name, one in _declarations().items()})

    def replace(self, **changes: Any) -> "HParams":
        """Return the same with other values."""
        return dataclasses.replace(self, **changes)


@functools.cache
def _declarations() -> dict[str, _Declared]:
    hints = get_type_hints(HParams, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


LANE_FIELDS: dict[str, tuple[Any, ...] | None] = {
    path: declared.inside.get(path)
    for declared in _declarations().values()
    for path in declared.fields
}
"""The config's fields in which the lanes of a cohort may differ, each with the values that it may
take inside one (None: any)."""
