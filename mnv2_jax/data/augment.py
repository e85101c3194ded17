"""Augmentation and scaling of images inside a compiled program.

An augmentation that is off adds nothing to the program. Each image and each augmentation has random
numbers of its own: they depend neither on which others are on nor on how a batch is split.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mnv2_jax.data import colour
from mnv2_jax.data.augmentation import Augmentation

Array = jax.Array
Keys = Callable[[str], Array]
"""Takes the name of an augmentation, returns a `jax.random` key for each image, `[count]`."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

SCALINGS = {
    # To [-1, 1], as in slim and Keras.
    "symmetric": ((0.5,) * 3, (0.5,) * 3),
    # By the mean and standard deviation of ImageNet's training images, as in PyTorch.
    "imagenet": (_IMAGENET_MEAN, _IMAGENET_DEVIATION),
}
"""Means to subtract from red, green and blue, and deviations to divide by, for pixels from 0 to 1.
Grey images take the averages of the three."""


def scale(images: Array, scaling: str) -> Array:
    """Scale images, 0 to 255, to float32 by one of `SCALINGS`."""
    mean, deviation = (_per_channel(values, images.shape[-1]) for values in SCALINGS[scaling])
    # Constants fold into one division and one subtraction.
    return images.astype(jnp.float32) / (255 * deviation) - mean / deviation


def unscale(images: Array, scaling: str) -> Array:
    """Undo `scale`: float32, 0 to 255, up to rounding."""
    mean, deviation = (_per_channel(values, images.shape[-1]) for values in SCALINGS[scaling])
    return 255 * (images * deviation + mean)


def augmented(
    augmentation: Augmentation,
    scaling: str,
    keys: Keys,
    images: Array,
    labels: Array,
    classes: int,
) -> tuple[Array, Array]:
    """Augment and scale images, and make their targets.

    Args:
      augmentation: crops and RandAugment are left out: they are done while decoding.
      scaling: one of `SCALINGS`.
      keys: random keys of the images.
      images: uint8 `[count, height, width, channels]`.
      labels: int32 `[count]`.
      classes: number of classes.

    Returns:
      Images, float32 `[count, height, width, channels]`, and the share of each class in them,
      float32 `[count, classes]`.
    """
    if augmentation.shift:
        images = random_shift(keys("shift"), images, augmentation.shift)
    if augmentation.flip:
        images = random_flip(keys("flip"), images)
    if augmentation.rotation:
        images = random_rotation(keys("rotation"), images, augmentation.rotation)
    for name, adjust in colour.ADJUSTMENTS.items():
        strength = getattr(augmentation, name)
        if strength:
            images = adjust(keys(name), images.astype(jnp.float32), strength)
    scaled = scale(images, scaling)
    targets = jax.nn.one_hot(labels, classes)
    if augmentation.cutout:
        scaled = random_cutout(keys("cutout"), scaled, augmentation.cutout)
    if augmentation.mixup:
        scaled, targets = mixed_up(keys("mixup"), scaled, targets, augmentation.mixup)
    return scaled, targets


def random_shift(keys: Array, images: Array, pixels: int) -> Array:
    """Shift every image by up to `pixels` rows and columns, drawn uniformly; black moves in.

    Takes keys `[count]` and images `[count, height, width, channels]` of any type, which it keeps.
    """
    # The remainder of 32 random bits is uniform to one part in a billion, and compiles to a
    # fraction of randint's code.
    shifts = jax.vmap(lambda key: jax.random.bits(key, (2,)), out_axes=1)(keys) % (2 * pixels + 1)
    for axis in (1, 2):
        # Selecting among shifted copies vectorises; a gather per image does not.
        border = [(0, 0)] * 4
        border[axis] = (pixels, pixels)
        padded = jnp.pad(images, border)
        drawn = shifts[axis - 1][:, None, None, None]
        for shift in range(2 * pixels + 1):
            shifted = jax.lax.slice_in_dim(padded, shift, shift + images.shape[axis], axis=axis)
            images = shifted if shift == 0 else jnp.where(drawn == shift, shifted, images)
    return images


def random_flip(keys: Array, images: Array) -> Array:
    """Mirror images `[count, height, width, channels]` left to right, each with chance 1/2."""
    flipped = jax.vmap(jax.random.bits)(keys) % 2 == 1
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def random_rotation(keys: Array, images: Array, degrees: float) -> Array:
    """Rotate every image about its centre by up to `degrees` either way; black moves in.

    Takes keys `[count]` and images `[count, height, width, channels]`, interpolates linearly, and
    returns float32.
    """
    height, width = images.shape[1:3]
    rows, columns = jnp.mgrid[:height, :width].astype(jnp.float32)
    y, x = rows - (height - 1) / 2, columns - (width - 1) / 2

    def rotated(key: Array, image: Array) -> Array:
        angle = jnp.deg2rad(degrees) * jax.random.uniform(key, minval=-1.0)
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        source = [cosine * y + sine * x + (height - 1) / 2, cosine * x - sine * y + (width - 1) / 2]

        def interpolated(plane: Array) -> Array:
            return jax.scipy.ndimage.map_coordinates(plane, source, order=1)

        return jax.vmap(interpolated, in_axes=-1, out_axes=-1)(image)

    return jax.vmap(rotated)(keys, images.astype(jnp.float32))


def random_cutout(keys: Array, images: Array, side: int) -> Array:
    """Set a square of every image to 0, centred on any of its pixels, cut off at the border.

    Takes keys `[count]`, scaled images `[count, height, width, channels]`, and pixels for the side.
    """

    def inside(size: int, bits: Array) -> Array:
        first = (bits % size).astype(jnp.int32) - side // 2
        index = jnp.arange(size)
        return (index >= first) & (index < first + side)

    def hole(key: Array) -> Array:
        row, column = jax.random.bits(key, (2,))
        return inside(images.shape[1], row)[:, None] & inside(images.shape[2], column)[None]

    return jnp.where(jax.vmap(hole)(keys)[..., None], 0.0, images)


def mixed_up(keys: Array, images: Array, targets: Array, alpha: float) -> tuple[Array, Array]:
    """Average each image and its targets with those of its neighbour.

    Images 0 and 1 are a pair, 2 and 3, and so on: batches are in random order, and a device's part
    of one holds whole pairs. Each image draws weights, and takes the larger for itself.

    Args:
      keys: random keys of the images, `[count]`; `count` is even.
      images: float32 `[count, height, width, channels]`, scaled.
      targets: float32 `[count, classes]`.
      alpha: both parameters of the Beta distribution of the weights.
    """
    drawn = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(keys)
    own = jnp.maximum(drawn, 1 - drawn)

    def mixed(values: Array) -> Array:
        pairs = values.reshape(-1, 2, *values.shape[1:])
        other = pairs[:, ::-1].reshape(values.shape)
        weight = own.reshape(-1, *[1] * (values.ndim - 1))
        return weight * values + (1 - weight) * other

    return mixed(images), mixed(targets)


def _per_channel(values: tuple[float, ...], channels: int) -> Array:
    rgb = jnp.array(values)
    return rgb if channels == 3 else rgb.mean(keepdims=True)
