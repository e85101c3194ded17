"""The predictions of trained networks for each image of a split, as files."""

import dataclasses
import functools
import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mnv2_jax import atomic, checksums, schema

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
      images: the draw of the images, where they are not those of the data set's own split.
    """

    labels: np.ndarray
    predicted: np.ndarray
    losses: np.ndarray
    class_names: tuple[str, ...] = ()
    images: str = ""

    def first(self, count: int) -> "Predictions":
        """Return the predictions for the first images."""
        arrays = (self.labels[:count], self.predicted[:count], self.losses[:count])
        return Predictions(*arrays, self.class_names, self.images)

    def has_images_of(self, other: "Predictions") -> bool:
        """Return whether both are for the same images."""
        return self.images == other.images and np.array_equal(self.labels, other.labels)

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
    return _dumps(_arrays(predictions, predictions.predicted, predictions.losses))


def pack(workdir: Path, runs: Iterable[str]) -> Path:
    """Write the predictions of runs, by id, into one file beside results.csv; return its path.

    `read` finds them there, so that results can be kept without the folders of runs. Runs without
    predictions are left out.

    Raises:
      OSError: the folder cannot be written to.
    """
    every = {run: found for run in runs if (found := read(workdir, run))}
    path = workdir / schema.PREDICTIONS
    atomic.write_bytes(path, dumps_runs(every))
    return path


def dumps_runs(predictions: Mapping[str, Predictions]) -> bytes:
    """Return the content of a file with the predictions of several runs, given by id."""
    groups: dict[bytes, dict[str, Predictions]] = {}
    for run, found in predictions.items():
        key = found.labels.tobytes() + found.images.encode()
        groups.setdefault(key, {})[run] = found
    arrays: dict[str, np.ndarray] = {}
    for number, group in enumerate(groups.values()):
        first = next(iter(group.values()))
        stacked = [
            np.stack([getattr(one, name) for one in group.values()])
            for name in ("predicted", "losses")
        ]
        own = _arrays(first, *stacked) | {"runs": np.array([*group])}
        arrays |= {f"{number}/{name}": array for name, array in own.items()}
    return _dumps(arrays)


def read(workdir: Path, run: str) -> Predictions | None:
    """Read the predictions of a run; None if its record has none, or damaged ones."""
    path = workdir / "runs" / run / schema.PREDICTIONS
    try:
        sums = checksums.read_json(path.with_name(schema.RECORD[-1])).get(schema.SUMS, {})
        data = checksums.read_bytes(path)
        if sums.get(path.name) != checksums.sum_of(data):
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return _made(dict(arrays))
    except (FileNotFoundError, NotADirectoryError):
        return read_runs(workdir / schema.PREDICTIONS).get(run)
    except _DAMAGED:
        return None


def read_runs(path: Path) -> dict[str, Predictions]:
    """Read a file of several runs; it has none if it is missing or damaged."""
    try:
        status = path.stat()
        return _unpacked(path, (status.st_size, status.st_mtime_ns))
    except _DAMAGED:
        return {}


@functools.lru_cache(maxsize=8)
def _unpacked(path: Path, stamp: tuple[int, int]) -> dict[str, Predictions]:
    groups: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays:
            number, _, name = key.partition("/")
            groups.setdefault(number, {})[name] = arrays[key]
    return {
        str(run): _made(group | {"predicted": predicted, "losses": losses})
        for group in groups.values()
        for run, predicted, losses in zip(
            group["runs"], group["predicted"], group["losses"], strict=True
        )
    }


_DAMAGED = (OSError, ValueError, LookupError, zipfile.BadZipFile)


def _arrays(
    predictions: Predictions, predicted: np.ndarray, losses: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the arrays of a file: predictions and losses of one run, or of several."""
    classes = np.min_scalar_type(-max(2, len(predictions.class_names)))
    return {
        "labels": predictions.labels.astype(classes),
        "predicted": predicted.astype(classes),
        "losses": np.minimum(losses, np.finfo(np.float16).max).astype(np.float16),
        "class_names": np.array(predictions.class_names),
        **({"images": np.array(predictions.images)} if predictions.images else {}),
    }


def _made(arrays: Mapping[str, np.ndarray]) -> Predictions:
    return Predictions(
        arrays["labels"].astype(np.int32),
        arrays["predicted"].astype(np.int32),
        arrays["losses"].astype(np.float32),
        tuple(map(str, arrays["class_names"])),
        str(arrays.get("images", "")),
    )


def _dumps(arrays: Mapping[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(file, **named)
    return file.getvalue()
