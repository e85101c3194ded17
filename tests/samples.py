"""A small network and small data, for tests and for the processes that they start."""

import io

import numpy as np
import PIL.Image

from mnv2_jax import arch, presets
from mnv2_jax.data.images import Images
from mnv2_jax.data.sources import Dataset
from mnv2_jax.data.stored.prepared import Record

TINY = presets.Preset(
    *(8, 1, 4, 2),
    lambda t: (presets.Stage(t, 4, 2, 1), presets.Stage(t, 6, 1, 2)),
    *(8, 10, arch.BlockSpec(divisor=1)),
)
"""One block of each stride."""


class Pngs:
    """Images in memory, as records."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self._encoded = [_png(image) for image in images]
        self._labels = labels.tolist()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Record:
        return Record(self._encoded[index], self._labels[index], f"record {index}")


def dots(train: int = 64, validation: int = 30, test: int = 50) -> Dataset:
    """Images that can be learned: the class is where the bright patch lies."""
    generator = np.random.default_rng(0)

    def split(count: int) -> Images:
        labels = (np.arange(count) % 10).astype(np.int32)
        images = generator.integers(0, 60, (count, 8, 8, 1), np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += 180
        return Images(Pngs(images, labels), (8, 8, 1))

    return Dataset("dots", tuple("0123456789"), split(train), split(validation), split(test))


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image[..., 0]).save(file, "png")
    return file.getvalue()
