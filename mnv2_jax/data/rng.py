"""Random numbers drawn on the host: the order of images, their crops, and splits.

Each draw has its own counter of a counter-based generator (Philox, Salmon et al. 2011), so that it
depends neither on earlier draws nor on workers, nor on the step at which training was resumed.
"""

import zlib

import numpy as np


def generator(seed: int, name: str, step: int = 0, row: int = 0) -> np.random.Generator:
    """Return the generator of the stream `name` at a row of a step's batch.

    Args:
      seed: 0 to 2^32 - 1.
      name: streams of different names are independent.
      step: counted from 0 through all epochs.
      row: index of the image in the step's batch.
    """
    return np.random.Generator(_bits(seed, name, step, row))


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of `count` images in an epoch, counted from 0: int32 `[count]`."""
    return order(seed, "order", count, epoch)


def order(seed: int, name: str, count: int, step: int = 0) -> np.ndarray:
    """Return a random order of `count` things: int32 `[count]`. See `generator`."""
    # Raw bits are the same in every version of NumPy; permutations need not be. Sorting them
    # shuffles: two equal ones of 64 bits hardly occur, and a stable sort settles their order.
    bits = _bits(seed, name, step, 0).random_raw(count)
    return np.argsort(bits, kind="stable").astype(np.int32)


def few_of_each(seed: int, labels: np.ndarray, count: int) -> np.ndarray:
    """Draw `count` images of each class; a draw of more includes those of a draw of fewer.

    Args:
      seed: see `generator`.
      labels: integer labels of all images; each class has `count` images or more.
      count: number of images per class.

    Returns:
      Ascending indices of the drawn images, int32 `[classes * count]`.
    """
    bits = _bits(seed, "few", 0, 0).random_raw(len(labels))
    ranked = np.lexsort((bits, labels))  # By class, then in random order.
    classes = labels[ranked]
    rank_in_class = np.arange(len(labels)) - np.searchsorted(classes, classes)
    return np.sort(ranked[rank_in_class < count]).astype(np.int32)


def _bits(seed: int, name: str, step: int, row: int) -> np.random.Philox:
    return np.random.Philox(key=[seed, zlib.crc32(name.encode())], counter=[0, 0, row, step])
