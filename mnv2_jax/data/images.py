"""The images of a split, decoded one by one on demand."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from mnv2_jax.data import crops
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.data.decode import BadImage, decode
from mnv2_jax.data.stored.prepared import Record


class Records(Protocol):
    """Encoded images with their labels, by number from 0."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


class Example(NamedTuple):
    """An image as it enters the network.

    Attributes:
      image: uint8 `[height, width, channels]`, 0 to 255.
      label: 0 to classes - 1.
      problem: reason why the image could not be decoded, and is black; else "".
    """

    image: np.ndarray
    label: int
    problem: str = ""


class Arrays(NamedTuple):
    """A decoded split.

    Attributes:
      images: uint8 `[count, height, width, channels]`, 0 to 255.
      labels: int32 `[count]`, 0 to classes - 1.
      weights: float32 `[count]`: 0 for images that could not be decoded, else 1.
    """

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


Decoded = tuple[Arrays, tuple[str, ...]]
"""A decoded split, and in its order a line for each image that could not be decoded."""


def fill(arrays: Arrays) -> bool:
    """Put the next image that could be decoded in place of each that could not, in the arrays.

    Returns:
      False if no image could be decoded.
    """
    sound = np.flatnonzero(arrays.weights)
    for index in np.flatnonzero(arrays.weights == 0) if len(sound) else ():
        other = sound[np.searchsorted(sound, index) % len(sound)]
        arrays.images[index] = arrays.images[other]
        arrays.labels[index] = arrays.labels[other]
    return len(sound) > 0


def gathered(parts: Sequence[Decoded], places: np.ndarray) -> Decoded:
    """Return some images of several splits as a split.

    Args:
      parts: the splits, whose images are numbered from one to the next.
      places: ascending numbers of the images, `[count]`.

    Raises:
      ValueError: none of them could be decoded.
    """
    first = parts[0][0]
    count, shape = len(places), first.images.shape[1:]
    arrays = Arrays(
        np.empty((count, *shape), np.uint8), np.empty(count, np.int32), np.empty(count, np.float32)
    )
    problems: list[str] = []
    begin = 0
    for part, lines in parts:
        end = begin + len(part.labels)
        here = slice(*np.searchsorted(places, (begin, end)))
        own = places[here] - begin
        for target, source in zip(arrays, part, strict=True):
            target[here] = source[own]
        faulty = np.flatnonzero(part.weights == 0)
        problems += [line for line, one in zip(lines, faulty, strict=True) if one in own]
        begin = end
    if not fill(arrays):
        raise ValueError(f"{problems[0]}; and no other image of its split can be decoded either")
    return arrays, tuple(problems)


@dataclasses.dataclass(frozen=True)
class Images:
    """A split whose records are decoded to images of one shape.

    Attributes:
      records: encoded images.
      shape: height, width and channels of an image; the first two are equal.
      fraction: see `crops.evaluation_crop`.
      skip_corrupt: return a black image with its problem, instead of raising an error.
    """

    records: Records
    shape: tuple[int, int, int]
    fraction: float = 1.0
    skip_corrupt: bool = False

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        """Return an image for evaluation: its central square.

        Raises:
          ValueError: it cannot be decoded, or its label is out of range.
          OSError: it cannot be read.
        """
        return self._example(
            index, lambda image: crops.evaluation_crop(image, self.shape[0], self.fraction)
        )

    def view(
        self, index: int, augmentation: Augmentation, generator: np.random.Generator
    ) -> Example:
        """Return an image for training; see `crops.training_view`.

        Raises the errors of `__getitem__`.
        """
        return self._example(
            index,
            lambda image: crops.training_view(
                image, self.shape[0], self.fraction, augmentation, generator
            ),
        )

    def _example(self, index: int, crop: Callable[..., np.ndarray]) -> Example:
        record = self.records[index]
        try:
            if record.problem:
                raise BadImage(record.problem)
            image = decode(record.image, self.shape[2])
        except BadImage as error:
            problem = f"{record.where}: {error}"
            if not self.skip_corrupt:
                raise ValueError(f"{problem}; --on_corrupt=skip leaves such images out") from None
            return Example(np.zeros(self.shape, np.uint8), record.label, problem)
        return Example(crop(image), record.label)
