"""Config fields that were added or renamed after a release, without changing the ids of runs.

The id of a run is a hash of its config. A field that is added declares a neutral value: ids leave
it out at that value, and a config file that lacks the field gets it. A field that is renamed
declares its former name, which ids keep. See `mnv2_jax.ablation.ids`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

_ADDED, _FORMER = "added", "former"


@dataclasses.dataclass(frozen=True)
class Added:
    """A config field that was added after a release.

    Attributes:
      neutral: its value in configs that lack it.
      since: the version that has it first.
      observed: whether it says what a run measures, not what it is; then it is part of no id.
    """

    neutral: Any
    since: str
    observed: bool = False


def added(neutral: Any, since: str) -> Any:
    """Declare an added field in a dataclass of config fields, such as `train.recipe.Recipe`.

    Args:
      neutral: the default; runs that have it keep the ids that they had without the field.
      since: the version that has the field first, such as "0.2".
    """
    return dataclasses.field(default=neutral, metadata={_ADDED: Added(neutral, since)})


def added_fields(cls: type) -> Mapping[str, Added]:
    """Return the fields of a dataclass that `added` declares, by name."""
    return {
        field.name: field.metadata[_ADDED]
        for field in dataclasses.fields(cls)
        if _ADDED in field.metadata
    }


def renamed(default: Any, was: str) -> Any:
    """Declare a field that had another name in a release.

    Args:
      default: of the field.
      was: its former name.
    """
    return dataclasses.field(default=default, metadata={_FORMER: was})


def former_names(cls: type) -> Mapping[str, str]:
    """Return the former names of the fields of a dataclass that `renamed` declares, by name."""
    return {
        field.name: field.metadata[_FORMER]
        for field in dataclasses.fields(cls)
        if _FORMER in field.metadata
    }
