"""Data sets by name: prepared on disk, the digits that are embedded, or a folder of images."""

import contextlib
import dataclasses
import functools
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnv2_jax import metrics
from mnv2_jax.data import folders, image_files, rng, subsets
from mnv2_jax.data.images import Arrays, Images, Records
from mnv2_jax.data.stored import prepared, subsplits
from mnv2_jax.terminal import say

SPLITS = metrics.SPLITS


@dataclasses.dataclass(frozen=True)
class Selection:
    """Selection of images, and their size: fields of `config.data`.

    The last two are fields of `config.transfer`.

    Attributes:
      name: data set: the path of a folder of images, such as photos/, a set prepared in the data
        folder, or one of `EMBEDDED`. See `mnv2_jax.data.folders.is_path`.
      train: training images: a split as TFDS writes it, such as "train[:90%]".
      validation: images that choices are made by: a split, as TFDS writes it.
      test: images that are read once, at the end of a run: a split, as TFDS writes it.
      resolution: height and width of the network's input, in pixels.
      crop_fraction: share of the shorter side that evaluation's central crop keeps, above 0 and up
        to 1.
      classes: labels to keep: numbers and ranges such as "0-4" or "0,2,5-7"; "" for all. They are
        labelled anew, from 0, in the same order.
      images_per_class: number of training images of each class, drawn for each run; 0 for all.

    Raises:
      ValueError: a value is out of range; the message names it and what would be right.
    """

    name: str
    train: str
    validation: str
    test: str
    resolution: int
    crop_fraction: float
    classes: str = ""
    images_per_class: int = 0

    def __post_init__(self) -> None:
        if self.resolution < 1:
            raise ValueError(f"resolution={self.resolution}: expected 1 or more pixels")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction={self.crop_fraction}: expected above 0, at most 1")
        if self.classes:
            try:
                subsets.label_ranges(self.classes)
            except ValueError as error:
                raise ValueError(f"classes={self.classes!r}: {error}") from None
        if self.images_per_class < 0:
            raise ValueError(
                f"images_per_class={self.images_per_class}: expected 1 or more, or 0 for all"
            )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in its three splits. The test split is for the end of a run alone.

    Attributes:
      name: of the data set.
      class_names: by label.
      train: see `Selection`.
      validation: likewise.
      test: likewise.
      fingerprint: see `mnv2_jax.data.stored.prepared.Prepared` and, of a folder,
        `mnv2_jax.data.image_files.FolderSet`; "" where nothing is known. That of all classes, where
        some are kept.
      images_per_class: see `Selection`; each class has so many or more in `train`.
      remarks: lines for people about what was found.
      decoded: whole splits by their names, once they are decoded, and what could not be.
    """

    name: str
    class_names: tuple[str, ...]
    train: Images
    validation: Images
    test: Images
    fingerprint: str = ""
    images_per_class: int = 0
    remarks: tuple[str, ...] = ()
    decoded: dict[str, tuple[Arrays, tuple[str, ...]]] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def classes(self) -> int:
        """Return their number."""
        return len(self.class_names)

    @property
    def training_images(self) -> int:
        """Return the number of images a run trains on."""
        return self.images_per_class * self.classes or len(self.train)

    def chosen(self, seed: int) -> np.ndarray:
        """Return the places in `train` of a run's training images, ascending, int32 `[count]`.

        Args:
          seed: of the run's data. Of more images of each class, it chooses these and others.

        Raises:
          ValueError: a label is out of range.
          OSError: a file cannot be read.
        """
        if not self.images_per_class:
            return np.arange(len(self.train), dtype=np.int32)
        return rng.few_of_each(seed, self.train_labels, self.images_per_class)

    def training(self, seed: int) -> Images:
        """Return the images that a run trains on, those of `chosen`; see there."""
        if not self.images_per_class:
            return self.train
        places = self.chosen(seed)
        few = subsets.Subset(self.train.records, places, self.train_labels[places])
        return dataclasses.replace(self.train, records=few)

    @functools.cached_property
    def train_labels(self) -> np.ndarray:
        """The labels of `train`, int32 `[count]`, which are read once; see `chosen` for errors."""
        return subsets.labels(self.train.records)


def load(
    selection: Selection,
    folder: Path | None = None,
    *,
    skip_corrupt: bool = False,
    overlapping: bool = False,
    tell: Callable[[str], None] = say,
) -> Dataset:
    """Open a data set; an embedded one is prepared first if need be, or anew if damaged.

    Args:
      selection: what to open.
      folder: that prepared data sets live in, by default `mnv2_jax.data.folders.data_folder()`.
      skip_corrupt: leave out images that cannot be decoded.
      overlapping: splits may share images, as where nothing is trained.
      tell: is told in a line that an embedded data set is prepared anew, and now and then how far
        the check of a folder of images is.

    Raises:
      ValueError: there is no such data set, split or class, splits share images, there is one class
        alone, too few images of one, or images of a folder that cannot be decoded; the message says
        what would be right.
      OSError: the folder cannot be written to, or a file cannot be read.
    """
    found: image_files.FolderSet | prepared.Prepared
    if folders.is_path(selection.name):
        found = image_files.find(selection.name, tell, skip_corrupt=skip_corrupt)
    else:
        where = folder or folders.data_folder()
        if selection.name in EMBEDDED:
            _prepare(selection.name, where, tell)
        found = prepared.find(selection.name, where)
    if len(found.class_names) < 2:
        raise ValueError(
            f"config.data.name={selection.name!r}: it has one class, {found.class_names[0]!r}; "
            f"expected two or more to tell apart"
        )
    kept = _kept(selection, found.class_names)
    shape = (selection.resolution, selection.resolution, found.channels)
    wanted = {f"data.{split}": getattr(selection, split) for split in SPLITS}
    if not overlapping:
        subsplits.check_disjoint(wanted, found.splits)

    def images(split: str) -> Images:
        records_of: Records = found.records(wanted[f"data.{split}"], f"data.{split}")
        if selection.classes:
            records_of = subsets.Subset.of_classes(records_of, kept)
        return Images(records_of, shape, selection.crop_fraction, skip_corrupt)

    parts = images("train"), images("validation"), images("test")
    names = tuple(found.class_names[label] for label in kept)
    few = selection.images_per_class
    dataset = Dataset(selection.name, names, *parts, found.fingerprint, few, found.remarks)
    if selection.classes or few:
        _check_enough(selection, dataset, kept)
    return dataset


def _kept(selection: Selection, class_names: tuple[str, ...]) -> Sequence[int]:
    """Return the labels to keep, ascending."""
    count = len(class_names)
    if not selection.classes:
        return range(count)
    field = f"config.transfer.classes={selection.classes!r}"
    parts = subsets.label_ranges(selection.classes)
    if parts[-1].stop > count:
        beyond = next(max(part.start, count) for part in parts if part.stop > count)
        raise ValueError(
            f"{field}: {selection.name!r} has no class {beyond}; expected labels from 0 "
            f"({class_names[0]!r}) to {count - 1} ({class_names[-1]!r})"
        )
    kept = [label for part in parts for label in part]
    if len(kept) < 2:
        raise ValueError(
            f"{field}: it leaves one class, {class_names[kept[0]]!r}; expected two or more to tell "
            f"apart"
        )
    return kept


def _check_enough(selection: Selection, dataset: Dataset, kept: Sequence[int]) -> None:
    """See to it that there are images of the classes that are kept, and as many as are asked for.

    Validation and test may lack some of them.
    """
    field = f"config.transfer.classes={selection.classes!r}"
    counts = np.bincount(dataset.train_labels, minlength=dataset.classes)
    rarest = int(counts.argmin())
    name = f"class {kept[rarest]} ({dataset.class_names[rarest]!r})"
    if not counts[rarest]:
        raise ValueError(
            f"{field}: config.data.train={selection.train!r} has no image of {name}; expected "
            f"classes that it has images of"
        )
    for split in ("validation", "test"):
        if not len(getattr(dataset, split)):
            raise ValueError(
                f"{field}: config.data.{split}={getattr(selection, split)!r} has no image of "
                f"{name} nor of the others left; expected classes that it has images of"
            )
    if counts[rarest] < selection.images_per_class:
        raise ValueError(
            f"config.transfer.images_per_class={selection.images_per_class}: images of {name} in "
            f"config.data.train={selection.train!r}: {counts[rarest]}; expected at most as many as "
            f"these, or 0 for all"
        )


def _prepare(name: str, folder: Path, tell: Callable[[str], None]) -> None:
    """Prepare an embedded data set, unless it is there and whole."""
    holder = folder / name
    if _is_whole(name, folder, _stamp(holder)):
        return
    import tensorflow_datasets as tfds  # Takes seconds to import.

    tfds.disable_progress_bar()
    try:
        holder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{holder}: cannot be made ({error.strerror}); expected --data_dir, or else "
            f"XDG_CACHE_HOME or HOME, to name a folder to write to"
        ) from error
    # Several processes may prepare the same set at once: each fills a folder of its own, and the
    # first to finish gives it its name.
    with tempfile.TemporaryDirectory(dir=holder, prefix=".", suffix=".tmp") as beside:
        builder = EMBEDDED[name](Path(beside))
        target = holder / str(builder.version)
        if target.exists():
            tell(f"{target}: the data set was damaged or half written, and is prepared anew")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces downloads.
                builder.download_and_prepare()
        except RuntimeError as error:  # array_record's own, as of a full disk.
            raise OSError(f"{target}: cannot be written ({error})") from error
        if not _is_whole(name, Path(beside), _stamp(Path(beside, name))):
            raise OSError(f"{target}: it was not written whole; expected more room on its disk")
        if _is_whole(name, folder, _stamp(holder)):  # By another process.
            return
        if target.exists():
            target.rename(Path(beside, "damaged"))
        try:
            Path(beside, name, target.name).rename(target)
        except OSError:
            if not target.exists():
                raise


_Stamp = tuple[tuple[str, int, int], ...]


def _stamp(holder: Path) -> _Stamp:
    """Return a stamp that changes with the files of a data set, whose versions are in `holder`."""
    found = ((path, path.stat()) for path in sorted(holder.glob("[0-9]*/*")))
    return tuple((str(path), status.st_size, status.st_mtime_ns) for path, status in found)


@functools.lru_cache(maxsize=8)
def _is_whole(name: str, folder: Path, stamp: _Stamp) -> bool:
    """Return whether every record of a data set can be read; of a stamp it is found once."""
    if not stamp:
        return False
    try:
        found = prepared.find(name, folder)
        for split in found.splits:
            for _ in found.records(split, f"data.{split}"):
                pass
    except (OSError, ValueError):
        return False
    return True


def _digits(folder: Path) -> Any:
    from mnv2_jax.data.digits import Digits

    return Digits(data_dir=folder, file_format="array_record")


EMBEDDED: dict[str, Callable[[Path], Any]] = {"digits": _digits}
"""Data sets that come with a package, prepared when first asked for. A new one is a builder here
and one line: it takes a folder and gives a TFDS builder. Others of TFDS: `experiments.prepare`."""

MIRROR_CHANGES_CLASS = frozenset({"digits"})
"""Data sets whose images must not be mirrored: a mirrored digit is another sign, or none."""
