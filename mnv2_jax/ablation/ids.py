"""The fields of a config that are part of ids: later ones only where they are not neutral.

A field is declared where it is defined, by `mnv2_jax.neutral.added` in the dataclass that holds its
section, or in `OTHERS`.
"""

import functools
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mnv2_jax import arch, metrics, schema, values
from mnv2_jax.data import folders
from mnv2_jax.neutral import Added, added_fields

OTHERS = {"metrics": Added(",".join(metrics.DEFAULT), "0.2", observed=True)}
"""The fields, by path, that no dataclass declares."""


@functools.cache
def added() -> Mapping[str, Added]:
    """Return every field that is declared as one that came later, by its path."""
    # Here, so that a grid can be written down where jax is not imported.
    from mnv2_jax.data.augmentation import Augmentation
    from mnv2_jax.data.sources import Selection
    from mnv2_jax.train.recipe import Recipe

    holders = {"model": arch.BlockSpec, "data": Selection, "augment": Augmentation, "train": Recipe}
    declared = {
        f"{section}.{name}": field
        for section, holder in holders.items()
        for name, field in added_fields(holder).items()
    }
    return {**declared, **OTHERS}


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


def identity(path: str, value: Any) -> Any:
    """Return the part of a field's value that ids and tables hold.

    Of a folder of images it is its own name: the folders that it lies in change no id, and whether
    it holds the same images is known by their fingerprint.
    """
    return folders.own_name(value) if _own(path) == "data.name" else value


def without_neutral(config: Mapping[str, Any], holder: str = "") -> dict[str, Any]:
    """Return what ids are made from: a config as dicts, without what is neutral or observed.

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
            kept[name] = identity(holder + name, value)
    return kept


def _is_left_out(path: str, value: Any) -> bool:
    field = added().get(_own(path))
    return field is not None and (field.observed or values.canonical(value) == field.neutral)


def _own(path: str) -> str:
    """The field that a path names, where a phase's section sets it too."""
    section, _, rest = path.partition(".")
    return rest if section in schema.SECTIONS else path
