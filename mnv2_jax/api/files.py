"""Config files as experiments: what `get_config`, `get_grid` and `get_claims` of one return."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from mnv2_jax import config_file
from mnv2_jax.ablation import ids
from mnv2_jax.ablation.grid import Grid
from mnv2_jax.analysis.claims import Claim


class Parts(NamedTuple):
    """The content of a config file.

    Attributes:
      path: of the file.
      config: one run.
      grid: the runs.
      claims: to be decided.
      name: the default name of the experiment: that of the file and what followed the colon.
    """

    path: Path
    config: ConfigDict
    grid: Grid
    claims: tuple[Claim, ...]
    name: str


def read(config: str) -> Parts:
    """Read a config file.

    Args:
      config: its path, and after a colon the argument of its functions.

    Raises:
      ValueError: there is no such file, or a function of it is wrong; see `mnv2_jax.config_file`.
    """
    found = config_file.config(config)
    ids.complete(found)
    named, colon, argument = config.partition(":")
    path, arguments = Path(named), (argument,) if colon else ()
    claims = config_file.call(path, "get_claims", arguments, "a list of claims", _are_claims)
    points = config_file.call(path, "get_grid", arguments, "a Grid", _is_grid)
    parts = [re.sub(r"\W+", "_", part).strip("_") for part in arguments]
    name = "_".join([path.stem, *filter(None, parts)])
    return Parts(path, found, points, tuple(claims), name)


def _is_grid(found: object) -> bool:
    return isinstance(found, Grid)


def _are_claims(found: object) -> bool:
    return isinstance(found, Sequence) and all(isinstance(one, Claim) for one in found)
