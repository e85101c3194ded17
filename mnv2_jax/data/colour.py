"""Random changes of colour inside a compiled program, as in torchvision's ColorJitter.

Each function takes keys `[count]` and images, float32 `[count, height, width, channels]`, 0 to 255,
and returns images of the same kind.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Array = jax.Array

_LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), rounded as in torchvision."""


def brightness(keys: Array, images: Array, strength: float) -> Array:
    """Multiply each image by a factor from 1 - `strength` to 1 + `strength`."""
    return _blended(_factors(keys, strength), images, jnp.zeros(()))


def contrast(keys: Array, images: Array, strength: float) -> Array:
    """Multiply the differences of each image from its mean grey by such a factor."""
    mean = _grey(images).mean((1, 2, 3), keepdims=True)
    return _blended(_factors(keys, strength), images, mean)


def saturation(keys: Array, images: Array, strength: float) -> Array:
    """Multiply the differences of each pixel from its grey by such a factor. Three channels."""
    return _blended(_factors(keys, strength), images, _grey(images))


def hue(keys: Array, images: Array, strength: float) -> Array:
    """Shift all hues of each image by -`strength` to `strength` turns. Three channels."""
    turns = strength * _uniform(keys)
    brightest = images.max(-1)
    chroma = brightest - images.min(-1)
    # Hue in sixths of a turn, from red through green and blue back to red; 0 for grey.
    red, green, blue = jnp.moveaxis(images, -1, 0)
    divisor = jnp.where(chroma > 0, chroma, 1.0)
    sixths = jnp.where(
        brightest == red,
        (green - blue) / divisor,
        jnp.where(brightest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    shifted = sixths + 6 * turns[:, None, None]
    # The share of chroma that each channel lacks at this hue.
    offsets = (shifted[..., None] + jnp.array([5.0, 3.0, 1.0])) % 6
    share = jnp.clip(jnp.minimum(offsets, 4 - offsets), 0, 1)
    return brightest[..., None] - chroma[..., None] * share


ADJUSTMENTS: dict[str, Callable[[Array, Array, float], Array]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
}
"""By their names in `Augmentation`, in the order of application. (torchvision draws the order.)"""


def _uniform(keys: Array) -> Array:
    """Draw a number from -1 to 1 for each image."""
    return jax.vmap(lambda key: jax.random.uniform(key, minval=-1.0))(keys)


def _factors(keys: Array, strength: float) -> Array:
    return (1 + strength * _uniform(keys))[:, None, None, None]


def _blended(factors: Array, images: Array, other: Array) -> Array:
    return jnp.clip(factors * images + (1 - factors) * other, 0, 255)


def _grey(images: Array) -> Array:
    if images.shape[-1] == 1:
        return images
    return (images * jnp.array(_LUMA)).sum(-1, keepdims=True)
