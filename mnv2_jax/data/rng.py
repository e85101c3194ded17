"""Random numbers drawn on the host: the order of images, and their crops.

Every draw has a place of its own in a counter-based generator (Salmon et al. 2011, Philox), so that
it depends on nothing that was drawn before: not on workers, and not on where training went on.
"""

import zlib

import numpy as np


def generator(seed: int, name: str, step: int = 0, row: int = 0) -> np.random.Generator:
    """Return the stream `name` of a seed, at a step and a row of its batch.

    Args:
      seed: 0 to 2^32 - 1.
      name: of what is drawn; streams do not disturb one another.
      step: counted from 0 through all epochs.
      row: the image's place in the step's batch.
    """
    return np.random.Generator(_bits(seed, name, step, row))


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of images in an epoch, int32 `[count]`: a new one in every epoch.

    Args:
      seed: see `generator`.
      epoch: counted from 0.
      count: the images.
    """
    # Raw bits are the same in every version of NumPy, which permutations need not be. Sorting them
    # is a shuffle: among 64 bits equal ones are as good as none, and a stable sort settles them.
    bits = _bits(seed, "order", epoch, 0).random_raw(count)
    return np.argsort(bits, kind="stable").astype(np.int32)


def few_of_each(seed: int, labels: np.ndarray, count: int) -> np.ndarray:
    """Draw `count` images of each class.

    A draw of more images holds those of a draw of fewer.

    Args:
      seed: see `generator`.
      labels: of all images, whole numbers.
      count: of each class; it has so many or more.

    Returns:
      The places of the images that are drawn, ascending, int32 `[classes * count]`.
    """
    bits = _bits(seed, "few", 0, 0).random_raw(len(labels))
    ranked = np.lexsort((bits, labels))  # By class, then at random; see `epoch_order`.
    classes = labels[ranked]
    rank_in_class = np.arange(len(labels)) - np.searchsorted(classes, classes)
    return np.sort(ranked[rank_in_class < count]).astype(np.int32)


def _bits(seed: int, name: str, step: int, row: int) -> np.random.Philox:
    return np.random.Philox(key=[seed, zlib.crc32(name.encode())], counter=[0, 0, row, step])
