"""The training state of a lane: a pytree of packed Flax variables and of optax's state.

A small network has about 170 parameters and moments. As separate leaves they make training programs
compile a fifth to a half longer on CPU, and checkpoints take two to four times as long to write
(docs/results/speed.md). So each part is one vector with the structure of its tree.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

Tree = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Packing:
    """The places of a tree's leaves in its vector.

    Attributes:
      places: the start of each leaf, and its shape.
      structure: of the tree.
    """

    places: tuple[tuple[int, tuple[int, ...]], ...]
    structure: Any

    @property
    def size(self) -> int:
        """Elements of the vector."""
        return sum(math.prod(shape) for _, shape in self.places)

    def tree(self, vector: Any) -> Any:
        """Return the tree of a vector `[size]`."""
        leaves = [
            vector[start : start + math.prod(shape)].reshape(shape) for start, shape in self.places
        ]
        return jax.tree.unflatten(self.structure, leaves)

    def place(self, name: str) -> slice:
        """Return the part of the vector that holds a module of the tree's first level."""
        places = ravel(self.tree(np.arange(self.size))[name])
        return slice(int(places.min()), int(places.max()) + 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Packed:
    """A tree of arrays, laid end to end in one vector.

    Attributes:
      vector: float32 `[size]`, after the axes of lanes if any; None for a tree without leaves,
        since orbax saves no empty array.
      packing: the places of the leaves.
    """

    vector: Any
    packing: Packing = dataclasses.field(metadata={"static": True})

    @classmethod
    def pack(cls, tree: Any) -> "Packed":
        """Pack a tree of host arrays."""
        leaves, structure = jax.tree.flatten(tree)
        starts = np.cumsum([0, *(math.prod(leaf.shape) for leaf in leaves)]).tolist()
        places = tuple((start, leaf.shape) for start, leaf in zip(starts, leaves, strict=False))
        return cls(ravel(tree) if leaves else None, Packing(places, structure))

    @property
    def tree(self) -> Any:
        """The tree, of one lane."""
        return self.packing.tree(self.vector)

    def with_vector(self, vector: Any) -> "Packed":
        """Return the same tree with other numbers."""
        return Packed(vector, self.packing)


class Epoch(NamedTuple):
    """Metrics of the epoch so far: float32 scalars.

    Attributes:
      loss: mean over its steps, of augmented images in training mode.
      accuracy: likewise, a fraction of 1.
      learning_rate: of the last step.
    """

    loss: Any
    accuracy: Any
    learning_rate: Any


class Variables(NamedTuple):
    """The variables of a network, as programs take them.

    Attributes:
      params: parameters that train.
      batch_stats: running moments that move.
      frozen: all others, `{"params": ..., "batch_stats": ...}`.
    """

    params: Packed
    batch_stats: Packed
    frozen: Packed

    @property
    def tree(self) -> dict[str, Any]:
        """The tree of Flax variables that `Network.apply` takes."""
        moving = {"params": self.params.tree, "batch_stats": self.batch_stats.tree}
        return join(self.frozen.tree, moving)


class TrainState(NamedTuple):
    """A lane's training state.

    Attributes:
      params: parameters that train.
      batch_stats: running moments that move.
      opt_state: optax's state.
      ema: averages of the first two, or () if the recipe keeps none.
      epoch: the epoch's metrics so far.
      frozen: parameters and running moments that do not change.
      best: a `mnv2_jax.train.best.Best` in checkpoints of runs that start from a trained network;
        otherwise ().
    """

    params: Packed
    batch_stats: Packed
    opt_state: Any
    ema: Any
    epoch: Epoch
    frozen: Packed
    best: Any = ()

    @property
    def variables(self) -> Variables:
        """The variables that train."""
        return Variables(self.params, self.batch_stats, self.frozen)

    @property
    def evaluated(self) -> Variables:
        """The variables to evaluate: the averages, if the recipe keeps them."""
        return Variables(self.ema[0], self.ema[1], self.frozen) if self.ema else self.variables


def ravel(tree: Any) -> np.ndarray:
    """Return the vector of `jax.flatten_util.ravel_pytree`, computed on the host."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def split(
    tree: Tree, mask: Mapping[tuple[str, ...], bool]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a tree of dicts by a mask over its paths into chosen leaves and the rest."""
    flat = traverse_util.flatten_dict(tree)
    chosen = {path: leaf for path, leaf in flat.items() if mask[path]}
    rest = {path: leaf for path, leaf in flat.items() if not mask[path]}
    return traverse_util.unflatten_dict(chosen), traverse_util.unflatten_dict(rest)


def join(*trees: Tree) -> dict[str, Any]:
    """Merge trees of dicts that have no path in common."""
    flat: dict[Any, Any] = {}
    for tree in trees:
        flat |= traverse_util.flatten_dict(tree)
    return traverse_util.unflatten_dict(flat)
