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


def epoch_batches(
    key: Array, epoch: Array, images: Array, labels: Array, batch_size: int, shift: int
) -> tuple[Array, Array]:
    """Draws the batches of one epoch: a new order, augmented and scaled to [-1, 1].

    The result depends on the arguments alone. What does not fill a last batch is left out of
    this epoch, and differs from epoch to epoch.

    Args:
      key: the run's key.
      epoch: int32 scalar, counted from 0.
      images: uint8 `[count, height, width, channels]`.
      labels: int32 `[count]`.
      batch_size: at most `count`.
      shift: see `mnv2_jax.data.augment.random_shift`.

    Returns:
      Images, float32 `[steps, batch_size, height, width, channels]`, and labels, int32
      `[steps, batch_size]`, with steps = count // batch_size.
    """
    steps = len(images) // batch_size
    order_key, shift_key = (
        jax.random.fold_in(stream(key, name), epoch) for name in ("order", "shift")
    )
    # A shuffle by sorting, without the repetitions of jax.random.permutation: among 32-bit numbers
    # equal ones are rare, and do no harm.
    order = jax.random.bits(order_key, (len(images),)).argsort()[: steps * batch_size]
    # The whole epoch at once: one gather and one shift instead of one small one per step.
    chosen = augment.scale(augment.random_shift(shift_key, images[order], shift))
    return (
        chosen.reshape(steps, batch_size, *images.shape[1:]),
        labels[order].reshape(steps, batch_size),
    )


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
