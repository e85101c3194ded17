"""How an epoch's batches are drawn. Runs inside the compiled program, on resident uint8 images."""

import zlib

import jax
import numpy as np

from mnv2_jax.data import augment
from mnv2_jax.data.sources import Split

Array = jax.Array


def stream(key: Array, name: str) -> Array:
    """The random stream `name` of a run's key: streams do not disturb one another.

    Initial weights, data order and augmentation each have their own, so that variants of a
    network see the same batches whatever else they draw.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def epoch_order(key: Array, epoch: Array, count: int) -> Array:
    """The order in which an epoch takes the images, int32 `[count]`: a new one in every epoch.

    Args:
      key: the run's key.
      epoch: int32 scalar, counted from 0.
      count: the images.
    """
    # A shuffle by sorting, without the repetitions of jax.random.permutation: among 32-bit numbers
    # equal ones are rare, and do no harm.
    order_key = jax.random.fold_in(stream(key, "order"), epoch)
    return jax.random.bits(order_key, (count,)).argsort()


def train_batch(
    key: Array, step: Array, rows: Array, chosen: Array, data: tuple[Array, Array], shift: int
) -> tuple[Array, Array]:
    """A step's batch or part of it, augmented and scaled to [-1, 1].

    An image's augmentation depends on key, step and row, not on which part it is in.

    Args:
      key: the run's key.
      step: int32 scalar, counted from 0 through all epochs.
      rows: the places of the images in the step's batch, int32 `[batch]`.
      chosen: their places in the split, int32 `[batch]`.
      data: the split: images, uint8 `[count, height, width, channels]`, and labels, int32
        `[count]`.
      shift: see `mnv2_jax.data.augment.random_shift`.

    Returns:
      Images, float32 `[batch, height, width, channels]`, and labels, int32 `[batch]`.
    """
    images, labels = data
    step_key = jax.random.fold_in(stream(key, "shift"), step)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, rows)
    return augment.scale(augment.random_shift(keys, images[chosen], shift)), labels[chosen]


def evaluation_batches(split: Split, batch_size: int) -> list[tuple[np.ndarray, ...]]:
    """Cuts a split into batches of one size for exact evaluation: nothing is left out.

    Returns:
      Batches of images uint8 `[batch_size, height, width, channels]`, labels int32
      `[batch_size]` and weights float32 `[batch_size]`: 1 for an image, 0 for what fills up the
      last batch.
    """
    count = len(split)
    total = -(-count // batch_size) * batch_size
    # np.resize repeats real images, so that what fills up is as finite as the rest.
    filled = np.resize(np.arange(count), total)
    weights = (np.arange(total) < count).astype(np.float32)
    return [
        (split.images[part], split.labels[part], weights[start : start + batch_size])
        for start in range(0, total, batch_size)
        for part in [filled[start : start + batch_size]]
    ]
