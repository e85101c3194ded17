"""Data sets by name: what is prepared on disk, and the digits that are embedded."""

import contextlib
import dataclasses
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnv2_jax import atomic
from mnv2_jax.data import folders
from mnv2_jax.data.images import Arrays, Images
from mnv2_jax.data.stored import records

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which images of which data set, and at which size: fields of `config.data`.

    Attributes:
      name: of a data set prepared in the folder, or one of `EMBEDDED`.
      train: the images to train on: a split as TFDS writes it, such as "train[:90%]".
      validation: likewise; what choices are made by.
      test: likewise; read once, at the end of a run.
      resolution: the height and width of what enters the network, in pixels.
      crop_fraction: see `mnv2_jax.data.images.Images`.

    Raises:
      ValueError: a value is out of range; the message names it and what would be right.
    """

    name: str
    train: str
    validation: str
    test: str
    resolution: int
    crop_fraction: float

    def __post_init__(self) -> None:
        if self.resolution < 1:
            raise ValueError(f"resolution={self.resolution}: expected 1 or more pixels")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction={self.crop_fraction}: expected above 0, at most 1")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in its three splits. The test split is for the end of a run alone.

    Attributes:
      name: of the data set.
      class_names: by label.
      train: see `Selection`.
      validation: likewise.
      test: likewise.
      fingerprint: see `mnv2_jax.data.stored.records.Prepared`; "" where nothing is known.
      decoded: whole splits by their names, once they are decoded, and what could not be.
    """

    name: str
    class_names: tuple[str, ...]
    train: Images
    validation: Images
    test: Images
    fingerprint: str = ""
    decoded: dict[str, tuple[Arrays, tuple[str, ...]]] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.class_names)


def load(
    selection: Selection, folder: Path | None = None, *, skip_corrupt: bool = False
) -> Dataset:
    """Opens a prepared data set; an embedded one is prepared first if need be.

    Args:
      selection: what to open.
      folder: that prepared data sets live in, by default `mnv2_jax.data.folders.data_folder()`.
      skip_corrupt: leave out images that cannot be decoded.

    Raises:
      ValueError: there is no such data set or split, splits share images, or there is one class
        alone; the message says what would be right.
      OSError: the folder cannot be written to, or a prepared file cannot be read.
    """
    where = folder or folders.data_folder()
    if selection.name in EMBEDDED:
        _prepare(selection.name, where)
    found = records.find(selection.name, where)
    if found.classes < 2:
        raise ValueError(
            f"config.data.name={selection.name!r}: it has one class, {found.class_names[0]!r}; "
            f"expected two or more to tell apart"
        )
    shape = (selection.resolution, selection.resolution, found.channels)
    wanted = {f"data.{split}": getattr(selection, split) for split in SPLITS}
    found.check_disjoint(wanted)

    def images(split: str) -> Images:
        records_of = found.records(wanted[f"data.{split}"], f"data.{split}")
        return Images(records_of, shape, selection.crop_fraction, skip_corrupt)

    parts = images("train"), images("validation"), images("test")
    return Dataset(selection.name, found.class_names, *parts, found.fingerprint)


def _prepare(name: str, folder: Path) -> None:
    if any((folder / name).glob("[0-9]*/dataset_info.json")):
        return
    import tensorflow_datasets as tfds  # Takes seconds to import.

    tfds.disable_progress_bar()
    version = EMBEDDED[name](folder).version
    # Several processes may prepare the same set at once: each fills a folder of its own, and the
    # first to finish gives it its name. TFDS announces downloads that do not happen.
    with tempfile.TemporaryDirectory() as data_dir, contextlib.redirect_stdout(io.StringIO()):
        EMBEDDED[name](Path(data_dir)).download_and_prepare()
        with atomic.folder(folder / name / str(version)) as staging:
            shutil.copytree(Path(data_dir, name, str(version)), staging, dirs_exist_ok=True)


def _digits(folder: Path) -> Any:
    from mnv2_jax.data.digits import Digits

    return Digits(data_dir=folder, file_format="array_record")


EMBEDDED: dict[str, Callable[[Path], Any]] = {"digits": _digits}
"""Data sets that come with a package, prepared when first asked for. A new one is a builder here
and one line: it takes a folder and gives a TFDS builder. All others: `experiments.prepare`."""
