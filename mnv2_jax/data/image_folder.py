"""The index of a folder of images: splits, classes and files, before any file is read."""

import collections
import dataclasses
import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mnv2_jax.metrics import SPLITS

_JPEG = (".jfif", ".jpe", ".jpeg", ".jpg")
EXTENSIONS = (".bmp", ".gif", *_JPEG, ".png", ".tif", ".tiff", ".webp")
"""Endings of the names of images, in lower or upper case."""

_TRAIN, _VALIDATION, _TEST = SPLITS


class File(NamedTuple):
    """An image file.

    Attributes:
      path: relative to the scanned folder, with `/`, in the spelling of the disk.
      label: index of its class among the sorted classes.
      size: bytes; 0 if the file has no status, such as a broken link.
      mtime_ns: time of the last change, ns; 0 likewise.
    """

    path: str
    label: int
    size: int
    mtime_ns: int

    @property
    def rank(self) -> bytes:
        """Key of the order of files: SHA-256 of the path, the same on every machine."""
        return hashlib.sha256(_normal(self.path).encode()).digest()


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """A folder of images.

    Attributes:
      root: the folder.
      classes: the sorted names of the class folders, NFC-normalised.
      splits: files of each split that has any, ordered by `File.rank`, which mixes classes.
      ignored: relative paths of files and folders that are no images, in and beside class folders.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, tuple[File, ...]]
    ignored: tuple[str, ...]


def scan(root: Path) -> ImageFolder:
    """List the images in `root/train/CLASS/`, or in `root/CLASS/`.

    The first layout may have `validation` and `test` beside `train`. The second is split 80/10/10
    by a hash of each file's path, so that a file stays in its split when others are added or
    removed. Links are followed; hidden files, and folders within class folders, are ignored.

    Raises:
      ValueError: the folder is missing or has another layout, a class has no images or too few to
        be split, or a name cannot be used; the message names the folder.
      OSError: a folder cannot be read.
    """
    if not root.is_dir():
        where = "" if root.is_absolute() else f" in {Path.cwd()}"
        what = "it is a file" if root.exists() else f"no such folder{where}"
        raise ValueError(f"{root}: {what}; expected a folder of images")
    ignored: list[str] = []
    if (root / _TRAIN).is_dir():
        folders = {
            split: _class_folders(root, split, ignored) for split in _split_folders(root, ignored)
        }
    elif present := [split for split in (_VALIDATION, _TEST) if (root / split).is_dir()]:
        raise ValueError(f"{root}: it has {present[0]}/ and no {_TRAIN}/ beside it")
    else:
        folders = {"": _class_folders(root, "", ignored)}
    classes = tuple(sorted(next(iter(folders.values()))))
    for split, of_classes in folders.items():
        unknown = sorted(set(of_classes) - set(classes))
        if unknown:
            raise ValueError(
                f"{root / split}: class {unknown[0]!r} is not in {_TRAIN}/, which has "
                f"{some(classes)}"
            )
    files = {
        split: _files(root, of_classes, classes, ignored) for split, of_classes in folders.items()
    }
    if list(files) == [""]:
        files = _split_by_hash(root, classes, files[""])
    ordered = {
        split: tuple(sorted(of_split, key=lambda file: (file.rank, file.path)))
        for split, of_split in files.items()
    }
    return ImageFolder(root, classes, ordered, tuple(sorted(ignored)))


def images_below(folder: Path) -> list[Path]:
    """List the images in a folder and in all folders below it, by path; hidden ones are ignored.

    Raises:
      ValueError: a name is not UTF-8.
      OSError: a folder cannot be read.
    """
    found: list[Path] = []
    for entry in _entries(folder):
        if _is_folder(entry):
            # A link may lead back to a folder above.
            found += [] if entry.is_symlink() else images_below(Path(entry.path))
        elif _is_image(entry):
            found.append(Path(entry.path))
    return found


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, and the number of the others, as text."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _split_folders(root: Path, ignored: list[str]) -> list[str]:
    for entry in _entries(root):
        if _is_folder(entry) and entry.name not in SPLITS:
            # Such as "val" and "testing".
            close = [split for split in SPLITS if split[:3] == entry.name[:3].lower()]
            hint = f"; rename it to {close[0]}/?" if close else ""
            raise ValueError(
                f"{entry.path}: beside {_TRAIN}/ only {_VALIDATION}/ and {_TEST}/ are expected"
                + hint
            )
        if not _is_folder(entry):
            _refuse_image(entry, root)
            ignored.append(entry.name)
    return [split for split in SPLITS if (root / split).is_dir()]


def _class_folders(root: Path, split: str, ignored: list[str]) -> dict[str, str]:
    """Return the class folders of a split, relative to `root`, by normalised name."""
    found: dict[str, str] = {}
    for entry in _entries(root / split):
        path = f"{split}/{entry.name}" if split else entry.name
        if not _is_folder(entry):
            _refuse_image(entry, root / split)
            ignored.append(path)
            continue
        name = _normal(entry.name)
        if {"\n", "\r"} & set(name):  # Messages and tables hold it in a line.
            raise ValueError(f"{entry.path!r}: the name of a class must not hold a line break")
        if name in found:
            both = f"{found[name].rpartition('/')[2]!a} and {entry.name!a}"
            raise ValueError(
                f"{root / split}: class folders {both} have one name in Unicode's normal form NFC; "
                f"rename one of them"
            )
        found[name] = path
    if not found:
        raise ValueError(f"{root / split}: no classes; expected a folder of images for each class")
    return found


def _files(
    root: Path, folders: dict[str, str], classes: tuple[str, ...], ignored: list[str]
) -> list[File]:
    files: list[File] = []
    for name, folder in folders.items():
        label, before = classes.index(name), len(files)
        for entry in _entries(root / folder):
            path = f"{folder}/{entry.name}"
            if _is_folder(entry):
                _refuse_images_in(entry, root / folder)
                ignored.append(f"{path}/")
                continue
            if not _is_image(entry):
                ignored.append(path)
                continue
            try:
                status = entry.stat()
                files.append(File(path, label, status.st_size, status.st_mtime_ns))
            except OSError:  # Reported when it is read, together with others.
                files.append(File(path, label, 0, 0))
        if len(files) == before:
            raise ValueError(
                f"{root / folder}: class {name!r} has no images; expected files ending in "
                f"{', '.join(EXTENSIONS)} in it, or that folder removed"
            )
    return files


def _split_by_hash(
    root: Path, classes: tuple[str, ...], files: list[File]
) -> dict[str, list[File]]:
    counts = collections.Counter((file.label, file.path.rpartition("/")[0]) for file in files)
    (label, folder), fewest = min(counts.items(), key=lambda item: item[1])
    if fewest < len(SPLITS):
        raise ValueError(
            f"{root / folder}: images of class {classes[label]!r}: {fewest}; expected "
            f"{len(SPLITS)} or more, which a hash of their paths splits into {_TRAIN}, "
            f"{_VALIDATION} and {_TEST}, or folders of these names, with class folders in them"
        )
    splits: dict[str, list[File]] = {}
    for file in files:
        # Other bytes than those that order files, so that ranks are uniform within a split.
        part = int.from_bytes(file.rank[-8:]) / 2**64
        split = _TRAIN if part < 0.8 else _VALIDATION if part < 0.9 else _TEST
        splits.setdefault(split, []).append(file)
    missing = set(range(len(classes))) - {file.label for file in splits.get(_TRAIN, [])}
    if missing:
        raise ValueError(
            f"{root}: split by hash, no image of class {classes[min(missing)]!r} comes into the "
            f"80 % to train on; expected more images of it, or {_TRAIN}/ and {_TEST}/ folders"
        )
    return {split: splits[split] for split in SPLITS if split in splits}


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            try:
                entry.name.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{folder}/{entry.name!a}: its name is not UTF-8") from None
            yield entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # Such as links in a circle, which are reported as files.
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(EXTENSIONS)


def _refuse_images_in(folder: os.DirEntry[str], of_class: Path) -> None:
    """Raise `ValueError` if a folder within a class folder has images: they would be ignored."""
    if any(_is_image(entry) for entry in _entries(Path(folder.path))):
        raise ValueError(
            f"{folder.path}: images in a folder within that of class {of_class.name!r}; expected "
            f"them in {of_class} itself, or the folder {of_class}/ if those in it are the classes"
        )


def _refuse_image(entry: os.DirEntry[str], folder: Path) -> None:
    if _is_image(entry):
        raise ValueError(
            f"{entry.path}: an image outside of class folders; expected {folder}/CLASS/{entry.name}"
        )


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)
