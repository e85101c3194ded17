"""Config fields that came later than others, or had another name, without a change to any id.

The id of a run is a hash of its config. So that a new field changes no id of a run that does not
use it, the field declares a neutral value: at that value ids leave it out, and a config file that
lacks the field has that value. A field that is renamed declares its former name, which ids keep.
See `mnv2_jax.ablation.ids`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

_ADDED, _FORMER = "added", "former"


@dataclasses.dataclass(frozen=True)
class Added:
    """A config field that came later than others.

    Attributes:
      neutral: its value in configs that lack it.
      since: the version that has it first.
      observed: what a run measures, not what it is: no value of it is part of an id.
    """

    neutral: Any
    since: str
    observed: bool = False


def added(neutral: Any, since: str) -> Any:
    """Declare a field of a dataclass that holds config fields, such as `train.recipe.Recipe`.

    Args:
      neutral: the default; runs that have it keep the ids that they had without the field.
      since: the version that has the field first, such as "0.2".
    """
    return dataclasses.field(default=neutral, metadata={_ADDED: Added(neutral, since)})


def added_fields(cls: type) -> Mapping[str, Added]:
    """Return the fields of a dataclass that `added` declares, by their names."""
    return {
        field.name: field.metadata[_ADDED]
        for field in dataclasses.fields(cls)
        if _ADDED in field.metadata
    }


def renamed(default: Any, was: str) -> Any:
    """Declare a field that had another name in a released version.

    Args:
      default: of the field.
      was: its former name.
    """
    return dataclasses.field(default=default, metadata={_FORMER: was})


def former_names(cls: type) -> Mapping[str, str]:
    """Return the former names of the fields of a dataclass that `renamed` declares."""
    return {
        field.name: field.metadata[_FORMER]
        for field in dataclasses.fields(cls)
        if _FORMER in field.metadata
    }
