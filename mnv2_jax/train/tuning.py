"""The parts of a trained network that train on, and what they start from.

A part is one of `mnv2_jax.arch.NetworkSpec.parts`. What does not train has no place in the
optimizer's state, and no gradient is computed through what lies before the first part that trains.
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
"""Places where BatchNorm normalises with the batch's moments and moves its running ones while a
trained network trains on: nowhere; in the parts that train, as Keras does where `training=True` is
passed to them; or in frozen parts as well, as PyTorch does after `model.train()`."""


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Further training of a trained network.

    Attributes:
      first: the first part that trains, those after it included.
      norm: one of `NORMS`.

    Raises:
      ValueError: `norm` is none.
    """

    first: str = "classifier"
    norm: str = "inference"

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, NORMS)

    @property
    def norms_from(self) -> str | None:
        """The first part whose BatchNorms see the batch; see `mnv2_jax.nn.network.Network`."""
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
    """State that a run starts from.

    Attributes:
      variables: a network's; parts that it does not have are drawn afresh.
      optimizer: leaves of the state of the optimizer that trained its classifier alone; () begins
        afresh.
    """

    variables: Tree
    optimizer: Sequence[np.ndarray] = ()


def trainable_mask(
    shapes: Tree, spec: NetworkSpec, tuning: Tuning | None
) -> dict[tuple[str, ...], bool]:
    """Return which variables training changes: parameters by updates, running moments by moving.

    Args:
      shapes: of the variables, as `Network(spec).init` gives them.
      spec: the network.
      tuning: what trains; None for all.
    """
    trained = _from(spec, tuning.first if tuning else "stem")
    moving = _from(spec, tuning.norms_from if tuning else "stem")
    by_collection = {"params": trained, "batch_stats": moving}
    return {path: path[1] in by_collection[path[0]] for path in traverse_util.flatten_dict(shapes)}


def by_parameter(state: Any, size: int) -> Any:
    """Return an optimizer's state of which every parameter can have a past of its own.

    Adam counts the steps of all parameters at once. Where some went through more of them than
    others, its correction of means that began at 0 has to know: it counts for each, here.
    """

    def widened(node: Any) -> Any:
        own = isinstance(node, optax.ScaleByAdamState)
        return node._replace(count=np.zeros(size, np.int32)) if own else node

    return jax.tree.map(
        widened, state, is_leaf=lambda node: isinstance(node, optax.ScaleByAdamState)
    )


def carried(state: Any, old: Sequence[np.ndarray], size: int, place: slice) -> Any:
    """Return an optimizer's state that goes on from another one for some of its parameters.

    The schedule's own count of steps is not carried over: it begins anew.

    Args:
      state: of `by_parameter`, fresh.
      old: leaves of the state of the parameters in `place`.
      size: of all parameters.
      place: where those parameters are.
    """
    leaves, structure = jax.tree.flatten(state)

    def joined(fresh: Any, past: np.ndarray) -> Any:
        if np.shape(fresh) != (size,):
            return fresh
        whole = np.array(fresh)
        whole[place] = past
        return whole

    joint = [joined(*both) for both in zip(leaves, old, strict=True)]
    return jax.tree.unflatten(structure, joint)


def _from(spec: NetworkSpec, first: str | None) -> frozenset[str]:
    """Return the names of the modules of a part and of those after it."""
    parts = () if first is None else spec.parts[spec.parts.index(first) :]
    return frozenset([*parts, *(f"{part}_norm" for part in parts)])
