"""A folder of images as a data set: each file is checked once, and read by its number."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnv2_jax import cache, checksums, cores
from mnv2_jax.data import decode, folders, image_folder
from mnv2_jax.data.image_folder import File, ImageFolder
from mnv2_jax.data.stored import subsplits
from mnv2_jax.data.stored.records import Record

_AT_ONCE = 64
"""Files that a thread checks in a row."""

_TELL_SECONDS = 5.0


class Note(NamedTuple):
    """The findings about a file, which hold as long as its size and time of change do.

    Attributes:
      size: see `File`.
      mtime_ns: likewise.
      digest: BLAKE2b of its bytes, 32 hexadecimal digits; "" where it cannot be read.
      turned: whether decoding turns it, see `decode.TURNING`.
      problem: the reason why it cannot be decoded or read, or "".
    """

    size: int
    mtime_ns: int
    digest: str
    turned: bool
    problem: str


Notes = Mapping[str, Note]
"""The findings by the paths of files."""


class Files:
    """Images of a folder, by number. Made by `FolderSet.records`.

    Any number of threads may read them.

    Attributes:
      labels: int32 `[count]`.
    """

    def __init__(self, root: Path, files: Sequence[File], problems: Mapping[str, str]) -> None:
        """Choose files; nothing is read.

        Args:
          root: the folder; files are found from another current folder, too, if it is absolute.
          files: of the folder.
          problems: by path, of files that cannot be decoded, the reason.
        """
        self.labels = np.array([file.label for file in files], np.int32)
        self._root = str(root)
        self._files = files
        self._problems = problems

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Record:
        """Return image number `index`, counted from 0.

        Raises:
          IndexError: there is no such image.
          OSError: its file has changed since the folder was opened, or is gone.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        file = self._files[index]
        if file.path in self._problems:
            return Record(b"", file.label, file.path, self._problems[file.path])
        try:
            data = _read(self._root, file)
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
    """A folder of images, checked. Made by `find`.

    Attributes:
      name: as it was asked for.
      folder: its files.
      problems: by path, of files that cannot be decoded, the reason.
      fingerprint: twelve hexadecimal digits that change with the bytes, the label, the split or the
        order of any image, and with the names of classes. Files in the same places under another
        folder, or with other times, have the same. Where decoding turns an image, the rule is part
        of it; see `decode.TURNING`.
      remarks: lines for people about the folder.
    """

    name: str
    folder: ImageFolder
    problems: Mapping[str, str]
    fingerprint: str
    remarks: tuple[str, ...]
    channels: int = 3

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        return self.folder.classes

    @property
    def splits(self) -> dict[str, subsplits.Split]:
        """By name."""
        return {
            name: subsplits.Split((), (len(files),)) for name, files in self.folder.splits.items()
        }

    def records(self, split: str, field: str) -> Files:
        """Open a split, or parts of splits such as "train[:90%]".

        Args:
          split: see https://www.tensorflow.org/datasets/splits
          field: the field of the config that says so, such as "data.train", for messages.

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
    """Open a folder of images, and check the files that are new or have changed.

    The findings are kept in the user's cache folder, so that the next time no file is read.

    Args:
      name: its path.
      tell: is told now and then how far the check is.
      skip_corrupt: take files that cannot be decoded for records with a problem.

    Raises:
      ValueError: there is no such folder, it is of another kind, see `image_folder.scan`, or images
        cannot be decoded and are not to be skipped.
      OSError: a folder in it cannot be read, or a file changes while it is checked.
    """
    try:
        folder = image_folder.scan(folders.path(name))
    except ValueError as error:
        raise ValueError(f"config.data.name={name!r}: {error}") from None
    folder = dataclasses.replace(folder, root=folder.root.absolute())
    notes = _checked(folder, lambda line: tell(f"{name}: {line}"))
    problems = dict(sorted((path, note.problem) for path, note in notes.items() if note.problem))
    if problems and not skip_corrupt:
        some = image_folder.some([f"{path} ({reason})" for path, reason in problems.items()])
        raise ValueError(
            f"config.data.name={name!r}: {len(problems):,} of {len(notes):,} images cannot be "
            f"decoded: {some}; --on_corrupt=skip leaves them out"
        )
    remarks = _remarks(name, folder, notes)
    return FolderSet(name, folder, problems, _fingerprint(folder, notes), remarks)


def _checked(folder: ImageFolder, tell: Callable[[str], None]) -> Notes:
    """Check the files of a folder that are not known yet; the findings are kept in the cache."""
    files = [file for of_split in folder.splits.values() for file in of_split]
    known: dict[str, Note] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):  # Not there, or damaged.
        text = checksums.read_text(_cache_file(folder.root))
        known = {path: Note(*note) for path, *note in json.loads(text)}
    notes = {
        file.path: note
        for file in files
        if (note := known.get(file.path)) and note[:2] == (file.size, file.mtime_ns)
        # What cannot be read may be permitted since.
        if note.digest
    }
    try:
        _check(folder.root, [file for file in files if file.path not in notes], notes, tell)
    finally:  # An interrupted check goes on from there.
        if notes != known:
            text = json.dumps([[path, *note] for path, note in notes.items()])
            # A cache that cannot be written, or a user without a home, costs time only.
            with contextlib.suppress(OSError, ValueError):
                checksums.write_text(_cache_file(folder.root), text)
    return notes


def _cache_file(root: Path) -> Path:
    """The file that the findings are kept in; by another rule of decoding there may be others."""
    name = checksums.sum_of(f"{root.resolve()}\n{decode.TURNING}".encode())[:32]
    return cache.folder() / "image_folders" / f"{name}.json"


def _check(
    root: Path, files: Sequence[File], notes: dict[str, Note], tell: Callable[[str], None]
) -> None:
    """Read files in threads, find out whether they can be decoded, and add that to `notes`."""
    began = told = time.perf_counter()
    pool = ThreadPoolExecutor(cores.available())
    try:
        parts = [files[first : first + _AT_ONCE] for first in range(0, len(files), _AT_ONCE)]
        tasks = [pool.submit(_notes_of, str(root), part) for part in parts]
        done = 0
        for task in as_completed(tasks):
            notes.update(task.result())
            done += len(task.result())
            now = time.perf_counter()
            if now - told >= _TELL_SECONDS:
                rate = done / (now - began)
                left = (len(files) - done) / rate
                tell(f"{done:,} of {len(files):,} images checked, {rate:,.0f}/s, {left:.0f} s left")
                told = now
    finally:
        pool.shutdown(cancel_futures=True)


def _notes_of(root: str, files: Sequence[File]) -> dict[str, Note]:
    return {file.path: _note(root, file) for file in files}


def _note(root: str, file: File) -> Note:
    digest, turned, problem = "", False, ""
    try:
        data = _read(root, file)
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}"
    else:
        if data is None:
            raise OSError(f"{root}/{file.path}: it changed while it was checked; run it again")
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        try:
            turned = decode.check(data)
        except decode.BadImage as error:
            problem = str(error)
    return Note(file.size, file.mtime_ns, digest, turned, problem)


def _read(root: str, file: File) -> bytes | None:
    """Read a file; None where it is no longer as it was when the folder was scanned.

    Raises:
      OSError: it cannot be read, or is no regular file.
    """
    # Without waiting, as a pipe would have it.
    handle = os.open(f"{root}/{file.path}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb", buffering=0) as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        data = opened.read()
        changed = os.fstat(handle).st_mtime_ns
    return data if (len(data), changed) == (file.size, file.mtime_ns) else None


def _fingerprint(folder: ImageFolder, notes: Notes) -> str:
    """See `FolderSet`."""
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
    if folder.singles:
        some = image_folder.some(folder.singles)
        remarks.append(f"Classes with a single image in train ({len(folder.singles):,}): {some}")
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
