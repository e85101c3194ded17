"""The parts of a trained network that train further, and the state that they start from.

A part is one of `mnv2_jax.arch.NetworkSpec.parts`. The optimizer's state holds only parts that
train, and no gradient is computed through the parts before the first of them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import traverse_util

from mnv2_jax.arch import NetworkSpec, check_choice
from mnv2_jax.train.state import Tree

NORMS = ("inference", "trained", "all")
"""The parts whose BatchNorms use the batch's moments, and move their running ones, while a trained
network trains further: none; those that train, as in Keras where they are passed `training=True`;
or all, as in PyTorch after `model.train()`."""


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Further training of a trained network.

    Attributes:
      first: the first part that trains; those after it train too.
      norm: one of `NORMS`.

    Raises:
      ValueError: `norm` is not one of them.
    """

    first: str = "classifier"
    norm: str = "inference"

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, NORMS)

    @property
    def norms_from(self) -> str | None:
        """The first part whose BatchNorms use the batch's moments; see `Network`."""
        return {"inference": None, "trained": self.first, "all": "stem"}[self.norm]


def first_part(spec: NetworkSpec, wish: str) -> str:
    """Return the first part that trains.

    Args:
      spec: the network.
      wish: a part's name, or "last_N" for the last N blocks and what comes after them.

    Raises:
      ValueError: there is no such part.
    """
    last, _, count = wish.partition("_")
    blocks = len(spec.blocks)
    if last == "last" and count.isdecimal() and 1 <= int(count) <= blocks:
        return spec.parts[1 + blocks - int(count)]
    if wish not in spec.parts:
        raise ValueError(
            f"first={wish!r}: no such part; expected one of {', '.join(spec.parts)}, or last_1 to "
            f"last_{blocks} for so many blocks and what follows them"
        )
    return wish


class Start(NamedTuple):
    """The state that a run starts from.

    Attributes:
      variables: a network's; missing parts are drawn afresh.
      optimizer: leaves of the state of the optimizer that trained its classifier alone; () starts
        afresh.
    """

    variables: Tree
    optimizer: Sequence[np.ndarray] = ()


def trainable_mask(
    shapes: Tree, spec: NetworkSpec, tuning: Tuning | None
) -> dict[tuple[str, ...], bool]:
    """Return a mask of the variables that training changes: parameters and running moments.

    Args:
      shapes: of the variables, as `Network(spec).init` gives them.
      spec: the network.
      tuning: the parts that train; None for all.
    """
    trained = _from(spec, tuning.first if tuning else "stem")
    moving = _from(spec, tuning.norms_from if tuning else "stem")
    by_collection = {"params": trained, "batch_stats": moving}
    return {path: path[1] in by_collection[path[0]] for path in traverse_util.flatten_dict(shapes)}


def by_parameter(state: Any, size: int) -> Any:
    """Return an optimizer's state that counts steps for each parameter.

    Adam counts those of all parameters at once. Its bias correction needs them for each, where some
    parameters have trained longer than others.
    """

    def is_adam(node: Any) -> bool:
        return isinstance(node, optax.ScaleByAdamState)

    def widened(node: Any) -> Any:
        return node._replace(count=np.zeros(size, np.int32)) if is_adam(node) else node

    return jax.tree.map(widened, state, is_leaf=is_adam)


def carried(state: Any, old: Sequence[np.ndarray], size: int, place: slice) -> Any:
    """Return an optimizer's state that continues another one for some of its parameters.

    The schedule's count of steps starts at 0.

    Args:
      state: a fresh state of `by_parameter`.
      old: leaves of the state of the parameters in `place`.
      size: the number of all parameters.
      place: the part of the vector that holds those parameters.
    """
    leaves, structure = jax.tree.flatten(state)

    def carry(fresh: Any, past: np.ndarray) -> Any:
        if np.shape(fresh) != (size,):
            return fresh
        joint = np.array(fresh)
        joint[place] = past
        return joint

    return jax.tree.unflatten(
        structure, [carry(fresh, past) for fresh, past in zip(leaves, old, strict=True)]
    )


def _from(spec: NetworkSpec, first: str | None) -> frozenset[str]:
    """Return the names of the modules of a part and of the parts after it."""
    parts = () if first is None else spec.parts[spec.parts.index(first) :]
    return frozenset([*parts, *(f"{part}_norm" for part in parts)])
