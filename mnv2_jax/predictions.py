"""The predictions of a trained network for each test image, as a file of the run's record."""

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np

from mnv2_jax import checksums, schema

LEFT_OUT = -1
"""The prediction for an image that could not be decoded."""


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a network for the images of a split, in the split's order.

    Attributes:
      labels: int32 `[images]`.
      predicted: the most probable class, or `LEFT_OUT`; int32 `[images]`.
      losses: cross-entropy in nats, float32 `[images]`.
      class_names: by label.
    """

    labels: np.ndarray
    predicted: np.ndarray
    losses: np.ndarray
    class_names: tuple[str, ...] = ()

    def first(self, count: int) -> "Predictions":
        """Return the predictions for the first images."""
        arrays = (self.labels[:count], self.predicted[:count], self.losses[:count])
        return Predictions(*arrays, self.class_names)

    @property
    def confusion(self) -> np.ndarray:
        """The number of images by label and prediction, int `[classes, classes]`."""
        counts = np.zeros((len(self.class_names),) * 2, int)
        seen = self.predicted != LEFT_OUT
        np.add.at(counts, (self.labels[seen], self.predicted[seen]), 1)
        return counts

    @property
    def mistaken(self) -> np.ndarray:
        """The indices of images of another class than predicted, the largest loss first."""
        (wrong,) = np.nonzero((self.predicted != LEFT_OUT) & (self.predicted != self.labels))
        return wrong[np.argsort(-self.losses[wrong], kind="stable")]


def dumps(predictions: Predictions) -> bytes:
    """Return the content of a file; losses are rounded to float16."""
    classes = np.min_scalar_type(-max(2, len(predictions.class_names)))
    file = io.BytesIO()
    np.savez_compressed(
        file,
        labels=predictions.labels.astype(classes),
        predicted=predictions.predicted.astype(classes),
        losses=np.minimum(predictions.losses, np.finfo(np.float16).max).astype(np.float16),
        class_names=np.array(predictions.class_names),
    )
    return file.getvalue()


def read(workdir: Path, run: str) -> Predictions | None:
    """Read the predictions of a run; None if its record has none, or damaged ones."""
    path = workdir / "runs" / run / schema.PREDICTIONS
    try:
        sums = checksums.read_json(path.with_name(schema.RECORD[-1])).get(schema.SUMS, {})
        data = checksums.read_bytes(path)
        if sums.get(path.name) != checksums.sum_of(data):
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Predictions(
                arrays["labels"].astype(np.int32),
                arrays["predicted"].astype(np.int32),
                arrays["losses"].astype(np.float32),
                tuple(map(str, arrays["class_names"])),
            )
    except (OSError, ValueError, LookupError, zipfile.BadZipFile):
        return None
