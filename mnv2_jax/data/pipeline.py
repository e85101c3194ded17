"""Batches inside the compiled program: augmented, scaled, with their targets."""

import zlib

import jax

from mnv2_jax.data import augment
from mnv2_jax.data.augmentation import Augmentation

Array = jax.Array


def stream(key: Array, name: str) -> Array:
    """Return the key of the random stream `name` of a run; streams are independent.

    Initial weights, dropout and each augmentation have their own, so that variants of a network see
    the same batches whatever else they draw.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def train_batch(
    key: Array,
    step: Array,
    rows: Array,
    chosen: Array,
    data: tuple[Array, Array],
    augmentation: Augmentation,
    scaling: str,
    classes: int,
) -> tuple[Array, Array, Array]:
    """Return the batch of a step, or some of its rows, augmented and scaled.

    The augmentation of an image depends on key, step and row alone.

    Args:
      key: source of random numbers.
      step: int32 scalar, counted from 0 through all epochs.
      rows: indices of the images in the step's batch, int32 `[batch]`.
      chosen: their indices in `data`, int32 `[batch]`.
      data: images, uint8 `[count, height, width, channels]`, and labels, int32 `[count]`.
      augmentation: see `augment.augmented`.
      scaling: one of `augment.SCALINGS`.
      classes: number of classes.

    Returns:
      Images, float32 `[batch, height, width, channels]`, labels, int32 `[batch]`, and the share of
      each class in the images, float32 `[batch, classes]`.
    """

    def keys(name: str) -> Array:
        step_key = jax.random.fold_in(stream(key, name), step)
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, rows)

    images, labels = (array[chosen] for array in data)
    scaled, targets = augment.augmented(augmentation, scaling, keys, images, labels, classes)
    return scaled, labels, targets
