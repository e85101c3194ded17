"""Augmentation and scaling of images inside a compiled program.

What is off adds nothing to the program. Random numbers come by image and by what is drawn, so that
neither what else is on nor how a batch is split makes a difference.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mnv2_jax.data import colour
from mnv2_jax.data.augmentation import Augmentation

Array = jax.Array
Keys = Callable[[str], Array]
"""Gives a key of `jax.random` for each image, `[count]`, by the name of what is drawn."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

SCALINGS = {
    # To [-1, 1], as slim and Keras do.
    "symmetric": ((0.5,) * 3, (0.5,) * 3),
    # By the mean and standard deviation of ImageNet's training images, as PyTorch's models do.
    "imagenet": (_IMAGENET_MEAN, _IMAGENET_DEVIATION),
}
"""Scales of images: means subtracted from red, green and blue as shares of 1, and deviations to
divide by. Of grey images, the averages of the three."""


def scale(images: Array, scaling: str) -> Array:
    """Scales images, 0 to 255, to float32 by one of `SCALINGS`."""
    mean, deviation = (_by_channel(part, images.shape[-1]) for part in SCALINGS[scaling])
    # One multiplication and one subtraction, folded beforehand.
    return images.astype(jnp.float32) / (255 * deviation) - mean / deviation


def unscale(images: Array, scaling: str) -> Array:
    """Undo `scale`: float32, 0 to 255, up to rounding."""
    mean, deviation = (_by_channel(part, images.shape[-1]) for part in SCALINGS[scaling])
    return 255 * (images * deviation + mean)


def augmented(
    augmentation: Augmentation,
    scaling: str,
    keys: Keys,
    images: Array,
    labels: Array,
    classes: int,
) -> tuple[Array, Array]:
    """Images and targets as they are trained on.

    Args:
      augmentation: what is done; see there for the order. What is the host's to do is done.
      scaling: see `scale`.
      keys: of the images.
      images: uint8 `[count, height, width, channels]`.
      labels: int32 `[count]`.
      classes: how many there are.

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
    """Move every image by up to `pixels` rows and columns, each drawn evenly; black moves in.

    Args:
      keys: of the images, `[count]`.
      images: `[count, height, width, channels]`.
      pixels: the largest shift.

    Returns:
      The shifted images, in the shape and type of `images`.
    """
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


def random_flip(keys: Array, images: Array) -> Array:
    """Mirror every second image, left to right; `[count, height, width, channels]`."""
    flipped = jax.vmap(jax.random.bits)(keys) % 2 == 1
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def random_rotation(keys: Array, images: Array, degrees: float) -> Array:
    """Turn every image about its centre by an angle drawn evenly; black moves in.

    Values between pixels are interpolated linearly.

    Args:
      keys: of the images, `[count]`.
      images: `[count, height, width, channels]`, 0 to 255.
      degrees: the largest angle, either way.

    Returns:
      float32, in the shape of `images`.
    """
    height, width, _ = images.shape[1:]
    rows, columns = jnp.mgrid[:height, :width].astype(jnp.float32)
    y, x = rows - (height - 1) / 2, columns - (width - 1) / 2

    def turned(key: Array, image: Array) -> Array:
        angle = jnp.deg2rad(degrees) * jax.random.uniform(key, minval=-1.0)
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        places = [cosine * y + sine * x + (height - 1) / 2, cosine * x - sine * y + (width - 1) / 2]

        def interpolated(plane: Array) -> Array:
            return jax.scipy.ndimage.map_coordinates(plane, places, order=1)

        return jax.vmap(interpolated, in_axes=-1, out_axes=-1)(image)

    return jax.vmap(turned)(keys, images.astype(jnp.float32))


def random_cutout(keys: Array, images: Array, side: int) -> Array:
    """Blank out a square of every image, centred on any of its pixels, cut off at the border.

    Args:
      keys: of the images, `[count]`.
      images: `[count, height, width, channels]`, scaled, such that 0 is grey.
      side: of the square, in pixels.
    """

    def inside(count: int, bits: Array) -> Array:
        first = (bits % count).astype(jnp.int32) - side // 2
        place = jnp.arange(count)
        return (place >= first) & (place < first + side)

    def hole(key: Array) -> Array:
        row, column = jax.random.bits(key, (2,))
        return inside(images.shape[1], row)[:, None] & inside(images.shape[2], column)[None]

    return jnp.where(jax.vmap(hole)(keys)[..., None], 0.0, images)


def mixed_up(keys: Array, images: Array, targets: Array, alpha: float) -> tuple[Array, Array]:
    """Average each image and its targets with those of the other one of its pair.

    Pairs are neighbours: batches are in random order, and what a device computes of one holds whole
    pairs. The larger weight, drawn image by image, is the image's own.

    Args:
      keys: of the images, `[count]`, an even number.
      images: float32 `[count, height, width, channels]`, scaled.
      targets: float32 `[count, classes]`.
      alpha: both parameters of the Beta distribution of the weights.
    """
    drawn = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(keys)
    own = jnp.maximum(drawn, 1 - drawn)

    def mixed(whole: Array) -> Array:
        pairs = whole.reshape(-1, 2, *whole.shape[1:])
        other = pairs[:, ::-1].reshape(whole.shape)
        weight = own.reshape(-1, *[1] * (whole.ndim - 1))
        return weight * whole + (1 - weight) * other

    return mixed(images), mixed(targets)


def _by_channel(values: tuple[float, ...], channels: int) -> Array:
    whole = jnp.array(values)
    return whole if channels == 3 else whole.mean(keepdims=True)
