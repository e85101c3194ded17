"""A folder of images as a data set: each file is checked once, and read by number."""

import collections
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mnv2_jax import checksums
from mnv2_jax.data import decode, folders, image_checks, image_folder
from mnv2_jax.data.image_checks import Notes
from mnv2_jax.data.image_folder import File, ImageFolder
from mnv2_jax.data.stored import subsplits
from mnv2_jax.data.stored.prepared import Record


class Files:
    """Encoded images of a folder, by number; safe to read from several threads.

    Attributes:
      files: the images.
      labels: int32 `[count]`.
    """

    def __init__(self, root: Path, files: Sequence[File], problems: Mapping[str, str]) -> None:
        self.labels = np.array([file.label for file in files], np.int32)
        self._root = str(root)
        self.files = files
        self._problems = problems

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Record:
        """Read image number `index`, counted from 0.

        Raises:
          IndexError: there is no such image.
          OSError: its file was changed or removed after the folder was opened.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        file = self.files[index]
        if file.path in self._problems:
            return Record(b"", file.label, file.path, self._problems[file.path])
        try:
            data = image_checks.read(self._root, file)
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            if data is not None:
                return Record(data, file.label, file.path)
            reason = "it has changed"
        raise OSError(
            f"{self._root}/{file.path}: {reason}; expected images to stay as they were when the "
            f"command began; run it again"
        )


@dataclasses.dataclass(frozen=True)
class FolderSet:
    """A folder of images that was checked. Made by `find`.

    Attributes:
      folder: its index.
      problems: reasons why files cannot be decoded, by path.
      fingerprint: twelve hexadecimal digits that change with the bytes, the label, the split or the
        order of any image, and with the names of classes. They depend neither on where the folder
        lies nor on the times of files. If decoding turns an image, they include `decode.TURNING`.
      remarks: lines to print about the folder.
    """

    folder: ImageFolder
    problems: Mapping[str, str]
    fingerprint: str
    remarks: tuple[str, ...]
    channels: int = 3

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self.folder.classes

    @property
    def splits(self) -> dict[str, subsplits.Split]:
        """Splits by name."""
        return {
            name: subsplits.Split((), (len(files),)) for name, files in self.folder.splits.items()
        }

    def records(self, split: str, field: str) -> Files:
        """Open a split, or parts of splits such as "train[:90%]".

        Args:
          split: see https://www.tensorflow.org/datasets/splits
          field: field of the config that holds `split`, such as "data.train", for messages.

        Raises:
          ValueError: there are no such images.
        """
        parts = subsplits.of_field(field, split, self.splits)
        files = [
            file
            for part in parts
            for file in self.folder.splits[part.split][part.start : part.stop]
        ]
        return Files(self.folder.root, files, self.problems)


def find(name: str, tell: Callable[[str], None], *, skip_corrupt: bool = False) -> FolderSet:
    """Open a folder of images, and check it; see `mnv2_jax.data.image_checks.check_files`.

    Args:
      name: its path.
      tell: is called with a line about the progress now and then.
      skip_corrupt: let images that cannot be decoded be records with a problem.

    Raises:
      ValueError: `image_folder.scan` refuses the folder; or images cannot be decoded, which are not
        to be skipped or without which a split or a class has none.
      OSError: a folder in it cannot be read, or a file changes during the check.
    """
    try:
        folder = image_folder.scan(folders.path(name))
    except ValueError as error:
        raise ValueError(f"config.data.name={name!r}: {error}") from None
    folder = dataclasses.replace(folder, root=folder.root.absolute())
    notes = image_checks.check_files(folder, lambda line: tell(f"{name}: {line}"))
    problems = dict(sorted((path, note.problem) for path, note in notes.items() if note.problem))
    if problems and not skip_corrupt:
        some = image_folder.some([f"{path} ({reason})" for path, reason in problems.items()])
        raise ValueError(
            f"config.data.name={name!r}: {len(problems):,} of {len(notes):,} images cannot be "
            f"decoded: {some}; --on_corrupt=skip leaves them out"
        )
    for split, files in folder.splits.items():
        labels = {file.label for file in files if file.path not in problems}
        missing = sorted(set(range(len(folder.classes))) - labels)
        if not labels or (split == "train" and missing):
            raise ValueError(
                f"config.data.name={name!r}: in {split}, no image of class "
                f"{folder.classes[missing[0]]!r} can be decoded; expected one or more of each class"
            )
    remarks = _remarks(name, folder, notes)
    return FolderSet(folder, problems, _fingerprint(folder, notes), remarks)


def _fingerprint(folder: ImageFolder, notes: Notes) -> str:
    """Return `FolderSet.fingerprint`."""
    content = [
        [split, [[file.label, notes[file.path].digest] for file in files]]
        for split, files in folder.splits.items()
    ]
    rule = [decode.TURNING] if any(note.turned for note in notes.values()) else []
    return checksums.sum_of(json.dumps([folder.classes, content, *rule]).encode())[:12]


def _remarks(name: str, folder: ImageFolder, notes: Notes) -> tuple[str, ...]:
    counts = ", ".join(f"{split} {len(files):,}" for split, files in folder.splits.items())
    remarks = [f"{name}: classes: {len(folder.classes):,}; images: {counts}"]
    if folder.ignored:
        some = image_folder.some(folder.ignored)
        remarks.append(f"Other files passed over ({len(folder.ignored):,}): {some}")
    count = collections.Counter(file.label for file in folder.splits["train"])
    singles = [name for label, name in enumerate(folder.classes) if count[label] == 1]
    if singles:
        some = image_folder.some(singles)
        remarks.append(f"Classes with a single image in train ({len(singles):,}): {some}")
    earlier: dict[str, str] = {}
    for split, files in folder.splits.items():
        digests = {file.path: digest for file in files if (digest := notes[file.path].digest)}
        same = {path: earlier[digest] for path, digest in digests.items() if digest in earlier}
        if same:
            path = min(same)
            remarks.append(
                f"{split}: {len(same):,} of its images are in an earlier split too, such as "
                f"{path}, which is {same[path]}"
            )
        for path, digest in digests.items():
            earlier.setdefault(digest, path)
    return tuple(remarks)
