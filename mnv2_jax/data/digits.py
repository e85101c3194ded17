"""scikit-learn's digits as a TFDS data set. Imports TFDS, so import it only where needed."""

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

SIZES = {"train": 1047, "validation": 250, "test": 500}
"""Images per split. A training epoch has 16 batches of 64."""


class Digits(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]  # TFDS is untyped.
    """1,797 real handwritten digits, 8x8 grey (Alpaydin and Kaynak 1998), part of scikit-learn.

    The split is fixed: images are ranked by a hash of their position, the same in every version of
    every library.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description="8x8 grey images of handwritten digits, embedded in scikit-learn.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        from sklearn import datasets  # Takes seconds to import.

        digits = datasets.load_digits()
        # Grey values are 0 to 16.
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)
        ranked = np.array(sorted(range(len(images)), key=_rank))
        parts = np.split(ranked, np.cumsum(list(SIZES.values()))[:-1])
        return {
            split: self._generate_examples(images[part], digits.target[part])
            for split, part in zip(SIZES, parts, strict=True)
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, format="png")
            png.seek(0)
            yield index, {"image": png, "label": int(label)}


def _rank(position: int) -> bytes:
    return hashlib.sha256(str(position).encode()).digest()
