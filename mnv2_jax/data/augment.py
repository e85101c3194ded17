"""Augmentation and scaling of images inside a compiled program."""

import jax
import jax.numpy as jnp

Array = jax.Array


def scale(images: Array) -> Array:
    """Scales uint8 images, 0 to 255, to float32 in [-1, 1], as slim and Keras do."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def random_shift(keys: Array, images: Array, pixels: int) -> Array:
    """Moves every image by up to `pixels` rows and columns, each drawn evenly; black moves in.

    Args:
      keys: a key of `jax.random` for each image, `[count]`.
      images: `[count, height, width, channels]`.
      pixels: the largest shift, 0 or more.

    Returns:
      The shifted images, in the shape and type of `images`.
    """
    if pixels == 0:
        return images
    # The remainder of 32 random bits: even to one part in a billion, for a fraction of randint's
    # code to compile.
    shifts = jax.vmap(lambda key: jax.random.bits(key, (2,)), out_axes=1)(keys) % (2 * pixels + 1)
    for axis in (1, 2):
        # Choosing among whole shifted copies vectorises, where a gather per image does not.
        border = [(0, 0)] * 4
        border[axis] = (pixels, pixels)
        padded = jnp.pad(images, border)
        chosen = shifts[axis - 1][:, None, None, None]
        for shift in range(2 * pixels + 1):
            moved = jax.lax.slice_in_dim(padded, shift, shift + images.shape[axis], axis=axis)
            images = moved if shift == 0 else jnp.where(chosen == shift, moved, images)
    return images
