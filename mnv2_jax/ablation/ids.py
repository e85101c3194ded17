"""The fields of a config that are part of ids: later ones only where they are not neutral.

A field is declared where it is defined, by `mnv2_jax.neutral.added` in the dataclass that holds its
section, or in `OTHERS`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from mnv2_jax import arch, metrics, schema, values
from mnv2_jax.data import folders
from mnv2_jax.neutral import Added, added_fields, former_names

T = TypeVar("T")

OTHERS = {"metrics": Added(",".join(metrics.DEFAULT), "0.2", observed=True)}
"""The fields, by path, that no dataclass declares."""


@functools.cache
def added() -> Mapping[str, Added]:
    """Return every field that is declared as one that came later, by its path."""
    return {**_declared(added_fields), **OTHERS}


@functools.cache
def former() -> Mapping[str, str]:
    """Return the former names of fields that were renamed, by their paths."""
    return _declared(former_names)


def _declared(of: Callable[[type], Mapping[str, T]]) -> dict[str, T]:
    # Here, so that a grid can be written down where jax is not imported.
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
    """Return whether a field says what is measured of a run, and not what the run is."""
    field = added().get(_own(path))
    return field is not None and field.observed


def missing(config: ConfigDict) -> list[str]:
    """Return the paths of later fields that a config lacks, in the sections that it has."""
    lacking = []
    for path in added():
        *sections, name = path.split(".")
        section: Any = config
        for part in sections:
            section = section[part] if section is not None and part in section else None
        if section is not None and name not in section:
            lacking.append(path)
    return lacking


def complete(config: ConfigDict) -> None:
    """Add the later fields that a config lacks, at their neutral values; it may be locked."""
    lacking = missing(config)
    if lacking:
        with config.unlocked():
            for path in lacking:
                *sections, name = path.split(".")
                section = functools.reduce(ConfigDict.__getitem__, sections, config)
                section[name] = added()[path].neutral


def with_current_names(config: Mapping[str, Any], holder: str = "") -> dict[str, Any]:
    """Return a recorded config as dicts, whose fields have the names that they have now.

    Args:
      config: see above, or a section of it.
      holder: the path of the section with a dot; empty of the whole.
    """
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
    """Return the part of a field's value that ids and tables hold.

    Of a folder of images it is its own name: the folders that it lies in change no id, and whether
    it holds the same images is known by their fingerprint.
    """
    return folders.own_name(value) if _own(path) == "data.name" else value


def without_neutral(config: Mapping[str, Any], holder: str = "") -> dict[str, Any]:
    """Return what ids are made from: a config as dicts, without what is neutral or observed.

    Fields have the names that they had first.

    Args:
      config: see above, or a section of it.
      holder: the path of the section with a dot; empty of the whole.
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
    """Return the field that a path names, where a phase's section sets it too."""
    section, _, rest = path.partition(".")
    return rest if section in schema.SECTIONS else path
