"""Optimizers by name, and which parameters decay. An optimizer of optax is one line here."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax
from flax import traverse_util
from optax import contrib

from mnv2_jax import user_code


@dataclass(frozen=True)
class Optimizer:
    """An optimizer.

    Attributes:
      make: optax's function. It is given, of learning rate, weight decay with its mask and the
        recipe's fields in `NAMES`, those that are among its arguments. Where weight decay is not,
        decay times the parameters is added to the gradients, as PyTorch and slim do (L2
        regularisation).
      elementwise: whether it treats every number by itself; then it is given all parameters in one
        vector, which compiles and runs faster. Others see the tree.
    """

    make: Callable[..., optax.GradientTransformation]
    elementwise: bool = False

    @functools.cached_property
    def arguments(self) -> frozenset[str]:
        """The names of the arguments that are not bound yet."""
        bound = self.make.keywords if isinstance(self.make, functools.partial) else {}
        return frozenset(inspect.signature(self.make).parameters) - frozenset(bound)

    @property
    def reads(self) -> frozenset[str]:
        """The fields of a recipe that it reads, of those in `NAMES`."""
        return frozenset(field for field, names in NAMES.items() if self.arguments & {*names})


NAMES: Mapping[str, tuple[str, ...]] = {
    "momentum": ("momentum", "b1", "beta"),
    "nesterov": ("nesterov",),
    "b2": ("decay", "b2"),
    "epsilon": ("eps",),
}
"""By field of the recipe what optax calls it."""

MASKS = ("mask", "weight_decay_mask")
"""The names that optax has for the parameters that decay."""

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(optax.sgd, elementwise=True),
    # TensorFlow's: means of squares begin at 1, momentum gathers steps as long as they were.
    "rmsprop": Optimizer(
        functools.partial(optax.rmsprop, initial_scale=1.0, nesterov=False), elementwise=True
    ),
    # Loshchilov and Hutter 2019, arXiv 1711.05101.
    "adamw": Optimizer(functools.partial(optax.adamw, nesterov=False), elementwise=True),
    # You et al. 2020, arXiv 1904.00962: a trust ratio per parameter.
    "lamb": Optimizer(optax.lamb),
    # Jordan et al. 2024: orthogonal updates of matrices, here pointwise kernels; Adam of the rest.
    "muon": Optimizer(contrib.muon),
}
"""The optimizers by name."""


def find(name: str) -> Optimizer:
    """Return an optimizer by its name in `OPTIMIZERS`, or one of a file of the user's own.

    Args:
      name: a name, or `FILE.py:FUNCTION` of a function like optax's.

    Raises:
      ValueError: there is none.
    """
    found = user_code.find(
        "optimizer",
        name,
        OPTIMIZERS,
        lambda one: isinstance(one, Optimizer) or callable(one),
        "a function like those of optax",
        "FUNCTION",
    )
    return found if isinstance(found, Optimizer) else Optimizer(found)


WEIGHT_DECAY_MASKS: dict[str, Callable[[str, int, bool], bool]] = {
    "all": lambda name, rank, norm: True,
    "not_norm": lambda name, rank, norm: not norm,
    "kernels": lambda name, rank, norm: name == "kernel",
    "not_depthwise": lambda name, rank, norm: name == "kernel" and rank != 3,
}
"""The parameters that decay, by name, number of dimensions and being BatchNorm's: all, all
but BatchNorm's, kernels alone, kernels but the depthwise ones `[k, k, channels]` (slim)."""


def decay_mask(params: Any, which: str) -> dict[str, Any]:
    """Return a tree like `params`, with ones where weight decay applies, and zeros elsewhere.

    Args:
      params: the parameters, or their shapes.
      which: one of `WEIGHT_DECAY_MASKS`.
    """
    flat = traverse_util.flatten_dict(params)
    norms = {path[:-1] for path in flat if path[-1] == "scale"}
    applies = WEIGHT_DECAY_MASKS[which]
    return traverse_util.unflatten_dict(
        {
            path: np.full(
                leaf.shape, applies(path[-1], len(leaf.shape), path[:-1] in norms), np.float32
            )
            for path, leaf in flat.items()
        }
    )
