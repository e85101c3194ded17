"""Data sets by name: prepared on disk, embedded in a package, or a folder of images."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mnv2_jax.data import embedded, folders, image_files, rng, stream, subsets
from mnv2_jax.data.images import Decoded, Images, Records, gathered
from mnv2_jax.data.stored import prepared, subsplits
from mnv2_jax.metrics import SPLITS
from mnv2_jax.neutral import added
from mnv2_jax.terminal import say


@dataclasses.dataclass(frozen=True)
class Selection:
    """Selection of images, and their size: fields of `config.data`.

    `classes` and `images_per_class` are fields of `config.transfer`.

    Attributes:
      name: data set: the path of a folder of images, such as photos/, a set prepared in the data
        folder, or one of `mnv2_jax.data.embedded.EMBEDDED`. See `mnv2_jax.data.folders.is_path`.
      train: training images: a split in TFDS's notation, such as "train[:90%]".
      validation: images that choices are based on: a split in TFDS's notation.
      test: images that are read once, at the end of a run: a split in TFDS's notation.
      resolution: height and width of the network's input, in pixels.
      crop_fraction: share of the shorter side that evaluation's central crop keeps, above 0 and up
        to 1.
      classes: labels to keep: numbers and ranges such as "0-4" or "0,2,5-7"; "" for all. They are
        renumbered from 0, in the same order.
      images_per_class: number of training images of each class, drawn for each run; 0 for all.
      channels: 1 decodes images to grey, 3 to RGB; 0 as the data set has them.

    Raises:
      ValueError: a value is out of range; the message names the field and the values expected.
    """

    name: str
    train: str
    validation: str
    test: str
    resolution: int
    crop_fraction: float
    classes: str = ""
    images_per_class: int = 0
    channels: int = added(0, "0.3")

    def __post_init__(self) -> None:
        if self.resolution < 1:
            raise ValueError(f"resolution={self.resolution}: expected 1 or more pixels")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction={self.crop_fraction}: expected above 0, at most 1")
        if self.channels not in (0, 1, 3):
            raise ValueError(f"channels={self.channels}: expected 1, 3, or 0 as the data set has")
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
    """A data set in three splits. The test split is read at the end of a run only.

    Attributes:
      name: see `Selection`.
      class_names: names of the classes, by label.
      train: training images.
      validation: validation images.
      test: test images.
      fingerprint: see `stored.prepared.Prepared` and `image_files.FolderSet`; that of all classes,
        even if some are left out; "" if unknown.
      images_per_class: see `Selection`; `train` has so many or more of each class.
      remarks: lines to print about the data set.
      decoded: cache of decoded splits by name; see `arrays`.
      fixed: where splits are drawn anew, the same images in the data set's own splits.
      places: where splits are drawn anew, for each split the places of its images among all of
        `fixed`; see `mnv2_jax.data.splits`.
    """

    name: str
    class_names: tuple[str, ...]
    train: Images
    validation: Images
    test: Images
    fingerprint: str = ""
    images_per_class: int = 0
    remarks: tuple[str, ...] = ()
    decoded: dict[str, Decoded] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    fixed: "Dataset | None" = dataclasses.field(default=None, repr=False)
    places: Mapping[str, np.ndarray] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def training_images(self) -> int:
        """Number of images that a run trains on."""
        return self.images_per_class * self.classes or len(self.train)

    def chosen(self, seed: int) -> np.ndarray:
        """Return the ascending indices in `train` of a run's training images, int32 `[count]`.

        With the same seed, more images of each class include those of fewer.

        Raises:
          ValueError: a label is out of range.
          OSError: a file cannot be read.
        """
        if not self.images_per_class:
            return np.arange(len(self.train), dtype=np.int32)
        return rng.few_of_each(seed, self.train_labels, self.images_per_class)

    def training(self, seed: int) -> Images:
        """Return the images that a run trains on: those of `chosen`, which see."""
        return self.of_train(self.chosen(seed)) if self.images_per_class else self.train

    def of_train(self, places: np.ndarray) -> Images:
        """Return the images of `train` with these indices; none is read."""
        return dataclasses.replace(self.train, records=subsets.Subset(self.train.records, places))

    def sample(self, seed: int) -> np.ndarray:
        """Return the ascending indices in `train` of as many training images as are validated.

        They are drawn from those of `chosen`, which see: all of these if there are no more.
        """
        chosen = self.chosen(seed)
        drawn = rng.order(0, "sample", len(chosen))[: len(self.validation)]
        return chosen[np.sort(drawn)]

    @functools.cached_property
    def train_labels(self) -> np.ndarray:
        """Labels of `train`, int32 `[count]`, read once. Raises the errors of `chosen`."""
        return subsets.labels(self.train.records)

    @functools.cached_property
    def labels(self) -> tuple[np.ndarray, ...]:
        """Labels of each split, int32 `[count]`, read once. Raises the errors of `chosen`."""
        others = (subsets.labels(split.records) for split in (self.validation, self.test))
        return (self.train_labels, *others)

    def arrays(self, split: str, tell: Callable[[str], None]) -> Decoded:
        """Return a whole split, with a line for each image that cannot be decoded.

        It is decoded on the first call. Data sets with the same `fixed` share what is decoded.

        Args:
          split: its name.
          tell: is called with a line about the progress now and then.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a file cannot be read.
        """
        if self.fixed:
            parts = [self.fixed.arrays(name, tell) for name in SPLITS]
            return gathered(parts, self.places[split])
        if split not in self.decoded:
            images: Images = getattr(self, split)
            self.decoded[split] = stream.read(images, lambda line: tell(f"{split}: {line}"))
        return self.decoded[split]


def load(
    selection: Selection,
    folder: Path | None = None,
    *,
    skip_corrupt: bool = False,
    overlapping: bool = False,
    tell: Callable[[str], None] = say,
) -> Dataset:
    """Open a data set. An embedded one is prepared if it is missing or damaged.

    Args:
      selection: images to open.
      folder: folder of prepared data sets, by default `folders.data_folder()`.
      skip_corrupt: leave out images that cannot be decoded.
      overlapping: let splits share images, as where nothing is trained.
      tell: is called with a line where a damaged data set is prepared again, and with lines about
        the progress of checking a folder of images.

    Raises:
      ValueError: there is no such data set, split or class, splits share images, there is only one
        class, a class has too few images, or images of a folder cannot be decoded; the message
        says what is expected.
      OSError: the folder cannot be written to, or a file cannot be read.
    """
    opened: image_files.FolderSet | prepared.Prepared
    if folders.is_path(selection.name):
        opened = image_files.find(selection.name, tell, skip_corrupt=skip_corrupt)
    else:
        folder = folder or folders.data_folder()
        if selection.name in embedded.EMBEDDED:
            embedded.prepare(selection.name, folder, tell)
        opened = prepared.find(selection.name, folder)
    if len(opened.class_names) < 2:
        raise ValueError(
            f"config.data.name={selection.name!r}: it has one class, {opened.class_names[0]!r}; "
            f"expected two or more to tell apart"
        )
    kept = subsets.kept_labels(selection.classes, selection.name, opened.class_names)
    shape = (selection.resolution, selection.resolution, selection.channels or opened.channels)
    texts = {f"data.{split}": getattr(selection, split) for split in SPLITS}
    if not overlapping:
        subsplits.check_disjoint(texts, opened.splits)

    def images(field: str) -> Images:
        records: Records = opened.records(texts[field], field)
        if selection.classes:
            records = subsets.Subset.of_classes(records, kept)
        return Images(records, shape, selection.crop_fraction, skip_corrupt)

    dataset = Dataset(
        name=selection.name,
        class_names=tuple(opened.class_names[label] for label in kept),
        train=images("data.train"),
        validation=images("data.validation"),
        test=images("data.test"),
        fingerprint=opened.fingerprint,
        images_per_class=selection.images_per_class,
        remarks=opened.remarks,
    )
    if selection.classes or selection.images_per_class:
        _check_enough(selection, dataset, kept)
    return dataset


def _check_enough(selection: Selection, dataset: Dataset, kept: Sequence[int]) -> None:
    """Check that each class has enough training images, and that no other split is empty."""
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


MIRROR_CHANGES_CLASS = frozenset({"digits"})
"""Data sets whose images must not be mirrored: a mirrored digit is another sign or none."""
