"""A tree of arrays, laid end to end in one vector."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Packing:
    """Where the leaves of a tree lie in its vector.

    Attributes:
      places: where each leaf begins, and its shape.
      structure: of the tree.
    """

    places: tuple[tuple[int, tuple[int, ...]], ...]
    structure: Any

    @property
    def size(self) -> int:
        """Of the vector."""
        return sum(math.prod(shape) for _, shape in self.places)

    @classmethod
    def of(cls, tree: Any) -> "Packing":
        """That of `ravel` and `jax.flatten_util.ravel_pytree`, for a tree of arrays or shapes."""
        leaves, structure = jax.tree.flatten(tree)
        starts = np.cumsum([0, *(math.prod(leaf.shape) for leaf in leaves)]).tolist()
        return cls(
            tuple((start, leaf.shape) for start, leaf in zip(starts, leaves, strict=False)),
            structure,
        )

    def tree(self, vector: Any) -> Any:
        """The tree that lies in a vector `[size]`, on the host or not."""
        leaves = [
            vector[start : start + math.prod(shape)].reshape(shape) for start, shape in self.places
        ]
        return jax.tree.unflatten(self.structure, leaves)


def ravel(tree: Any) -> np.ndarray:
    """What `jax.flatten_util.ravel_pytree` gives, without asking a device."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
