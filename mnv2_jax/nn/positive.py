"""Fractions of expanded channels that ReLU6 lets through at each pixel (Figure 7)."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnv2_jax import arch
from mnv2_jax.nn.network import Network

NORM = "expand_norm"
"""Name of the BatchNorm after a block's expansion, before its activation."""

Array = jax.Array


def positive_share(expanded: Array) -> Array:
    """Return the share of channels above 0, float32, of a tensor whose last axis is channels."""
    return (expanded > 0).mean(-1, dtype=jnp.float32)


def positive_fractions(
    spec: arch.NetworkSpec,
    variables: Mapping[str, Any],
    images: np.ndarray,
    *,
    batch_moments: bool = False,
) -> dict[str, np.ndarray]:
    """Return the fraction of expanded channels above 0 at each pixel, by the name of the block.

    Args:
      spec: the network.
      variables: `{"params": ..., "batch_stats": ...}`.
      images: scaled, float32 `[count, height, width, channels]`.
      batch_moments: normalise with the moments of `images`, as in training, instead of the running
        ones, as in inference.

    Returns:
      For each block with an expansion, in order, float32 `[count, height, width]`.

    Raises:
      ValueError: no block expands.
    """
    found = _compiled(spec, batch_moments)(variables, jnp.asarray(images))
    if not found:
        raise ValueError("spec: no block has an expansion; expected one with expansion above 1")
    return {name: np.asarray(found[name]) for name in spec.parts if name in found}


@functools.lru_cache(maxsize=8)
def _compiled(
    spec: arch.NetworkSpec, batch_moments: bool
) -> Callable[[Mapping[str, Any], Array], dict[str, Array]]:
    network = Network(spec)

    def is_of_expansion(module: nn.Module, method: str) -> bool:
        return module.name == NORM and method == "__call__"

    def fractions(variables: Mapping[str, Any], images: Array) -> dict[str, Array]:
        _, state = network.apply(
            variables,
            images,
            train=batch_moments,
            only="features",  # Dropout and the classifier come after all blocks.
            capture_intermediates=is_of_expansion,
            mutable=["batch_stats", "intermediates"],
        )
        captured = state.get("intermediates", {})
        # Means and not all channels leave the program.
        return {
            block: positive_share(norms[NORM]["__call__"][0]) for block, norms in captured.items()
        }

    return jax.jit(fractions)
