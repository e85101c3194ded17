"""A small network and small data, for tests and for the processes that they start."""

import numpy as np

from mnv2_jax import arch, presets
from mnv2_jax.data.sources import Dataset, Split

TINY = presets.Preset(
    *(8, 1, 4, 2),
    lambda t: (presets.Stage(t, 4, 2, 1), presets.Stage(t, 6, 1, 2)),
    *(8, 10, arch.BlockSpec(divisor=1)),
)
"""One block of each stride."""


def dots() -> Dataset:
    """Images that can be learned: the class is where the bright patch lies."""
    generator = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = (np.arange(count) % 10).astype(np.int32)
        images = generator.integers(0, 60, (count, 8, 8, 1), np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += 180
        return Split(images, labels)

    return Dataset("dots", 10, split(64), split(30), split(50))
