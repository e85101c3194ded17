"""Optimizers and schedules, built from values that may differ from lane to lane."""

import dataclasses
from typing import Any

import jax
import numpy as np
import optax

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all lanes of a program share.

    Attributes:
      epochs: passes over the training split.
      batch_size: images per step.
      evaluation_batch_size: images per evaluation batch; changes speed and memory, no result.
      momentum: of SGD with Nesterov's momentum.
      shift: pixels by which training images are shifted at most; see
        `mnv2_jax.data.augment.random_shift`.
    """

    epochs: int
    batch_size: int
    evaluation_batch_size: int
    momentum: float
    shift: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "evaluation_batch_size"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name}={value!r}: expected a whole number, 1 or more")
        if self.shift < 0:
            raise ValueError(f"shift={self.shift!r}: expected 0 or more pixels")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum!r}: expected 0 or more, below 1")


def sgd(
    learning_rate: Array | float,
    weight_decay: Array | float,
    decayed: Array | np.ndarray,
    momentum: float,
    steps: int,
) -> optax.GradientTransformation:
    """SGD with Nesterov momentum and a cosine schedule from `learning_rate` to 0 over `steps`.

    Args:
      learning_rate: at step 0; may be traced.
      weight_decay: added to the gradients, times the parameters; may be traced.
      decayed: 1 where a parameter decays, 0 where not; see `kernel_mask`.
      momentum: of the trace of gradients.
      steps: of the whole run.
    """
    return optax.chain(
        optax.stateless(lambda updates, params: updates + weight_decay * decayed * params),
        optax.trace(decay=momentum, nesterov=True),
        optax.scale_by_learning_rate(cosine(learning_rate, steps)),
    )


def cosine(learning_rate: Array | float, steps: int) -> optax.Schedule:
    """Half a cosine from `learning_rate` at step 0 to 0 at step `steps`."""
    # optax types the initial value as a float; a traced one works just as well.
    return optax.cosine_decay_schedule(learning_rate, steps)  # type: ignore[arg-type]


def kernel_mask(params: Any) -> Any:
    """A tree like `params` with ones for kernels and zeros for scales, biases and offsets."""

    def mask(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        return np.full(leaf.shape, path[-1].key == "kernel", np.float32)

    return jax.tree_util.tree_map_with_path(mask, params)
