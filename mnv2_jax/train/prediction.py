"""Logits and probabilities of images by a trained network, and its export."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mnv2_jax import arch
from mnv2_jax.data import augment
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.pieces import Pieces, applied
from mnv2_jax.nn.trained import Trained

Array = jax.Array
Logits = Callable[[Array | np.ndarray], Array]
"""Maps images, uint8 `[batch, resolution, resolution, channels]`, 0 to 255, to logits, float32
`[batch, classes]`."""

PLATFORMS = ("cpu", "cuda", "tpu")
"""The platforms of exported programs, by jax's names."""


def logits(trained: Trained, pieces: Pieces | None = None) -> Logits:
    """Return the network in inference mode, in float32: a compiled function of images.

    Args:
      trained: the network.
      pieces: compute its blocks piece by piece.

    Raises:
      ValueError: the network's scaling is unknown.
    """
    arch.check_choice("scaling", trained.scaling, tuple(augment.SCALINGS))
    network = Network(trained.spec)

    def of_images(variables: Any, images: Array) -> Any:
        with applied(pieces):
            return network.apply(variables, augment.scale(images, trained.scaling))

    # The weights are an argument: XLA would fold constants while it compiles, which takes long.
    return functools.partial(jax.jit(of_images), jax.device_put(trained.variables))


def probabilities(logits: Array | np.ndarray) -> Array:
    """Return probabilities, float32 `[batch, classes]`, in the order of `Trained.class_names`.

    Args:
      logits: `[batch, classes]`; for two classes, `[batch, 1]` holds the second's.
    """
    if logits.shape[-1] == 1:
        return jnp.concatenate([jax.nn.sigmoid(-logits), jax.nn.sigmoid(logits)], axis=-1)
    return jax.nn.softmax(logits)


def export(trained: Trained, pieces: Pieces | None = None) -> bytes:
    """Export `logits` as StableHLO, weights included, for `PLATFORMS` and any batch size.

    `jax.export.deserialize` reads it without this package; its `call` takes images.

    Args:
      trained: the network.
      pieces: see `logits`.

    Raises:
      ValueError: the scaling is unknown, or a user's block does not lower for all platforms and
        batch sizes.
    """
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *trained.spec.input_shape), jnp.uint8)
    program = jax.jit(logits(trained, pieces))
    try:
        exported = jax.export.export(program, platforms=PLATFORMS)(images)
    except Exception as error:  # A user's block may raise anything.
        reason = " ".join(str(error).split())
        raise ValueError(
            f"the network cannot be exported for any batch size on {', '.join(PLATFORMS)}: {reason}"
        ) from error
    return bytes(exported.serialize())
