"""Optimizers by name, each one line, and the parameters that decay."""

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
      make: optax's function, called with those of its arguments among learning rate, weight decay,
        its mask and the fields in `NAMES`. If it has no weight decay, decay times the parameters is
        added to the gradients, as in PyTorch and slim (L2 regularisation).
      elementwise: whether it treats every number by itself. Then it is given all parameters as one
        vector, which compiles and runs faster; otherwise the tree.
    """

    make: Callable[..., optax.GradientTransformation]
    elementwise: bool = False

    @functools.cached_property
    def arguments(self) -> frozenset[str]:
        """The names of the arguments that are not bound."""
        bound = self.make.keywords if isinstance(self.make, functools.partial) else {}
        return frozenset(inspect.signature(self.make).parameters) - frozenset(bound)

    @property
    def reads(self) -> frozenset[str]:
        """The fields in `NAMES` that it reads."""
        return frozenset(field for field, names in NAMES.items() if self.arguments & {*names})


NAMES: Mapping[str, tuple[str, ...]] = {
    "momentum": ("momentum", "b1", "beta"),
    "nesterov": ("nesterov",),
    "b2": ("decay", "b2"),
    "epsilon": ("eps",),
}
"""By field of the recipe, its names in optax."""

MASKS = ("mask", "weight_decay_mask")
"""Optax's names for the mask of the parameters that decay."""

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(optax.sgd, elementwise=True),
    # TensorFlow's: means of squares begin at 1, momentum sums steps already scaled by their rate.
    "rmsprop": Optimizer(
        functools.partial(optax.rmsprop, initial_scale=1.0, nesterov=False), elementwise=True
    ),
    # Loshchilov and Hutter 2019, arXiv 1711.05101.
    "adamw": Optimizer(functools.partial(optax.adamw, nesterov=False), elementwise=True),
    # You et al. 2020, arXiv 1904.00962: a trust ratio per parameter.
    "lamb": Optimizer(optax.lamb),
    # Jordan et al. 2024: orthogonal updates of matrices, here pointwise kernels; Adam for the rest.
    "muon": Optimizer(contrib.muon),
}
"""The optimizers by name."""


def find(name: str) -> Optimizer:
    """Return an optimizer by its name in `OPTIMIZERS`, or from a user's `FILE.py:FUNCTION`.

    Raises:
      ValueError: there is none.
    """
    made = user_code.find(
        "optimizer",
        name,
        OPTIMIZERS,
        lambda value: isinstance(value, Optimizer) or callable(value),
        "a function like those of optax",
        "FUNCTION",
    )
    return made if isinstance(made, Optimizer) else Optimizer(made)


WEIGHT_DECAY_MASKS: dict[str, Callable[[str, int, bool], bool]] = {
    "all": lambda name, rank, norm: True,
    "not_norm": lambda name, rank, norm: not norm,
    "kernels": lambda name, rank, norm: name == "kernel",
    "not_depthwise": lambda name, rank, norm: name == "kernel" and rank != 3,
}
"""True for a parameter that decays, by its name, number of dimensions and being BatchNorm's: all,
all but BatchNorm's, kernels alone, kernels but the depthwise ones `[k, k, channels]` (slim)."""


def decay_mask(params: Any, which: str) -> dict[str, Any]:
    """Return a tree like `params`, of ones where weight decay applies and zeros elsewhere.

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
