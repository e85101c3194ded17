"""Random changes of colour inside a compiled program, as torchvision's ColorJitter has them.

All take keys `[count]` and images float32 `[count, height, width, channels]`, 0 to 255, and give
the like.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Array = jax.Array

_LUMA = (0.2989, 0.587, 0.114)
"""The shares of red, green and blue in grey (ITU-R BT.601), to torchvision's digits."""


def brightness(keys: Array, images: Array, strength: float) -> Array:
    """Multiply each image by a factor of 1 - `strength` to 1 + `strength`."""
    return _blended(_factors(keys, strength), images, jnp.zeros(()))


def contrast(keys: Array, images: Array, strength: float) -> Array:
    """Likewise, the differences of each image from its mean grey."""
    mean = _grey(images).mean((1, 2, 3), keepdims=True)
    return _blended(_factors(keys, strength), images, mean)


def saturation(keys: Array, images: Array, strength: float) -> Array:
    """Likewise, the differences of each pixel from its grey. Three channels."""
    return _blended(_factors(keys, strength), images, _grey(images))


def hue(keys: Array, images: Array, strength: float) -> Array:
    """Move all hues of each image by -`strength` to `strength` turns. Three channels."""
    turns = strength * jax.vmap(lambda key: jax.random.uniform(key, minval=-1.0))(keys)
    brightest = images.max(-1)
    chroma = brightest - images.min(-1)
    # Hue in sixths of a turn, from red by green and blue back to red; 0 where there is none.
    red, green, blue = jnp.moveaxis(images, -1, 0)
    divisor = jnp.where(chroma > 0, chroma, 1.0)
    sixths = jnp.where(
        brightest == red,
        (green - blue) / divisor,
        jnp.where(brightest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    moved = sixths + 6 * turns[:, None, None]
    # How far a colour at this hue is from its brightest: the hexagon of hues, for each channel.
    offsets = (moved[..., None] + jnp.array([5.0, 3.0, 1.0])) % 6
    share = jnp.clip(jnp.minimum(offsets, 4 - offsets), 0, 1)
    return brightest[..., None] - chroma[..., None] * share


ADJUSTMENTS: dict[str, Callable[[Array, Array, float], Array]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
}
"""In the order in which they are made, by their names in `Augmentation`. (torchvision draws the
order.)"""


def _factors(keys: Array, strength: float) -> Array:
    drawn = jax.vmap(lambda key: jax.random.uniform(key, minval=-1.0))(keys)
    return (1 + strength * drawn)[:, None, None, None]


def _blended(factors: Array, images: Array, other: Array) -> Array:
    return jnp.clip(factors * images + (1 - factors) * other, 0, 255)


def _grey(images: Array) -> Array:
    if images.shape[-1] == 1:
        return images
    return (images * jnp.array(_LUMA)).sum(-1, keepdims=True)
