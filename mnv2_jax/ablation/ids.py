"""Stable ids: a field added later is part of an id only where its value is not the neutral one.

Such fields are declared by `mnv2_jax.neutral.added` in the dataclass of their section, or in
`OTHERS`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from mnv2_jax import arch, metrics, schema, values
from mnv2_jax.data import folders
from mnv2_jax.neutral import Added, added_fields, former_names

T = TypeVar("T")

OTHERS = {
    "metrics": Added(",".join(metrics.DEFAULT), "0.2", observed=True),
    "data.split": Added("fixed", "0.3"),
    "model.projection_blocks": Added("all", "0.3"),
    "model.shortcut_blocks": Added("all", "0.3"),
    "evaluate_test": Added(True, "0.3", observed=True),
}
"""The later fields, by path, that belong to no dataclass."""


@functools.cache
def added() -> Mapping[str, Added]:
    """Return all later fields, by path."""
    return {**_declared(added_fields), **OTHERS}


@functools.cache
def former() -> Mapping[str, str]:
    """Return the former names of renamed fields, by path."""
    return _declared(former_names)


def _declared(of: Callable[[type], Mapping[str, T]]) -> dict[str, T]:
    # Imported here, so that grids can be made without jax.
    from mnv2_jax.data.augmentation import Augmentation
    from mnv2_jax.data.sources import Selection
    from mnv2_jax.train.recipe import Recipe

    holders = {"model": arch.BlockSpec, "data": Selection, "augment": Augmentation, "train": Recipe}
    return {
        f"{section}.{name}": field
        for section, holder in holders.items()
        for name, field in of(holder).items()
    }


def is_observed(path: str) -> bool:
    """Return whether a field decides what is measured of a run, but not how it is trained."""
    field = added().get(_own(path))
    return field is not None and field.observed


def missing(config: ConfigDict) -> list[str]:
    """Return the paths of later fields that a config's sections lack."""
    return [
        path
        for path in added()
        if (section := _section(config, path)) is not None
        and path.rpartition(".")[2] not in section
    ]


def complete(config: ConfigDict) -> None:
    """Add missing later fields at their neutral values; the config may be locked."""
    for path in missing(config):
        with config.unlocked():
            _section(config, path)[path.rpartition(".")[2]] = added()[path].neutral


def _section(config: ConfigDict, path: str) -> Any:
    """Return the section of a field; None if the config lacks it."""
    name = path.rpartition(".")[0]
    return config.get(name) if name else config


def with_current_names(config: Mapping[str, Any], holder: str = "") -> dict[str, Any]:
    """Return a recorded config, or its section `holder`, with the present names of fields."""
    current = {
        was: path.rpartition(".")[2]
        for path, was in former().items()
        if _own(holder) == f"{path.rpartition('.')[0]}."
    }
    return {
        current.get(name, name): with_current_names(value, f"{holder}{name}.")
        if isinstance(value, Mapping)
        else value
        for name, value in config.items()
    }


def identity(path: str, value: Any) -> Any:
    """Return a field's value as ids and tables have it.

    A folder of images is identified by its name without its parents; its content is compared by
    fingerprint.
    """
    return folders.own_name(value) if _own(path) == "data.name" else value


def without_neutral(config: Mapping[str, Any], holder: str = "") -> dict[str, Any]:
    """Return what ids are hashes of: a config, or its section `holder`, without neutral fields.

    Observed fields are left out too. Fields have the names that they had first.
    """
    kept = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            rest = without_neutral(value, f"{holder}{name}.")
            if rest or not value:
                kept[name] = rest
        elif not _is_left_out(holder + name, value):
            was = former().get(_own(holder + name), name)
            kept[was] = identity(holder + name, value)
    return kept


def _is_left_out(path: str, value: Any) -> bool:
    field = added().get(_own(path))
    return field is not None and (field.observed or values.canonical(value) == field.neutral)


def _own(path: str) -> str:
    """Return a field's path without the section of a phase, which may set any field."""
    section, _, rest = path.partition(".")
    return rest if section in schema.SECTIONS else path
