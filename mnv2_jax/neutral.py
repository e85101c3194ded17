"""Config fields that came later than others, and the values at which they change nothing.

The id of a run is a hash of its config. So that a new field changes no id of a run that does not
use it, the field declares a neutral value: at that value ids leave it out, and a config file that
lacks the field has that value. See `mnv2_jax.ablation.ids`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

_KEY = "added"


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
    return dataclasses.field(default=neutral, metadata={_KEY: Added(neutral, since)})


def added_fields(cls: type) -> Mapping[str, Added]:
    """Return the fields of a dataclass that `added` declares, by their names."""
    return {
        field.name: field.metadata[_KEY]
        for field in dataclasses.fields(cls)
        if _KEY in field.metadata
    }
