"""Data sets, read through TensorFlow Datasets without TensorFlow.

Each is prepared once into a cache folder as array_record, then read with `tfds.data_source`.
`tensorflow_datasets` is imported when a data set is asked for: it takes seconds to import.
"""

import contextlib
import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mnv2_jax import atomic

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and labels of one split, in memory.

    Attributes:
      images: uint8 `[count, height, width, channels]`, 0 to 255.
      labels: int32 `[count]`, 0 to classes - 1.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in its three splits. The test split is for the end of a run alone."""

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split


def load(name: str, cache: Path | None = None) -> Dataset:
    """Reads a data set into memory, preparing it first if need be.

    Args:
      name: one of `DATASETS`.
      cache: the folder that prepared data sets live in; by default `cache_folder()`.

    Raises:
      ValueError: there is no such data set.
      OSError: the cache folder cannot be written to, or a prepared file cannot be read.
    """
    if name not in DATASETS:
        raise ValueError(f"data.name={name!r}: expected one of {', '.join(DATASETS)}")
    import tensorflow_datasets as tfds

    make_builder = DATASETS[name]
    folder = (cache or cache_folder()) / "datasets" / name
    if not folder.exists():
        tfds.disable_progress_bar()
        # Several processes may prepare the same set at once: each fills a folder of its own, and
        # the first to finish gives it its name. TFDS announces downloads that do not happen.
        with atomic.folder(folder) as staging, contextlib.redirect_stdout(io.StringIO()):
            make_builder(staging).download_and_prepare()
    builder = make_builder(folder)
    return Dataset(
        name=name,
        classes=builder.info.features["label"].num_classes,
        **{split: _read(builder, split) for split in SPLITS},
    )


def cache_folder() -> Path:
    """The user's cache folder for this project: `$XDG_CACHE_HOME/mnv2_jax`, else under ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "mnv2_jax"


def _read(builder: Any, split: str) -> Split:
    import tensorflow_datasets as tfds

    source = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    shape = builder.info.features["image"].shape
    records = [source[index] for index in range(len(source))]
    images = [np.asarray(Image.open(io.BytesIO(record["image"]))) for record in records]
    return Split(
        images=np.stack(images).reshape(-1, *shape).astype(np.uint8),
        labels=np.array([record["label"] for record in records], np.int32),
    )


def _digits(folder: Path) -> Any:
    from mnv2_jax.data.digits import Digits

    return Digits(data_dir=folder, file_format="array_record")


DATASETS: dict[str, Callable[[Path], Any]] = {"digits": _digits}
"""A new data set is one builder here and one line: it takes a folder and gives a TFDS builder."""
