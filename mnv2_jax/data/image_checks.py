"""The check of a folder of images: every file is read once, hashed, and tried to be decoded."""

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from mnv2_jax import cache, checksums, cores
from mnv2_jax.data import decode
from mnv2_jax.data.image_folder import File, ImageFolder
from mnv2_jax.terminal import counter

_AT_ONCE = 64
"""Files that a thread checks in a row."""


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


def check_files(folder: ImageFolder, tell: Callable[[str], None]) -> Notes:
    """Check the files of a folder that are new or have changed.

    The findings are kept in the user's cache folder, so that the next time no file is read.

    Args:
      folder: its index.
      tell: is told now and then how far the check is.

    Returns:
      The findings about all files.

    Raises:
      OSError: a file changes while it is checked.
    """
    files = [file for of_split in folder.splits.values() for file in of_split]
    known: dict[str, Note] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):  # Not there, or damaged.
        text = checksums.read_text(_cache_file(folder.root))
        known = {path: Note(*note) for path, *note in json.loads(text)}
    notes = {
        file.path: note
        for file in files
        if (note := known.get(file.path))
        and note[:2] == (file.size, file.mtime_ns)
        and note.digest  # What could not be read may be permitted since.
    }
    try:
        _check_new(folder.root, [file for file in files if file.path not in notes], notes, tell)
    finally:  # An interrupted check goes on from there.
        if notes != known:
            text = json.dumps([[path, *note] for path, note in notes.items()])
            # A cache that cannot be written, or a user without a home, costs time only.
            with contextlib.suppress(OSError, ValueError):
                checksums.write_text(_cache_file(folder.root), text)
    return notes


def _cache_file(root: Path) -> Path:
    """Return the file of the findings; another rule of decoding may have others."""
    name = checksums.sum_of(f"{root.resolve()}\n{decode.TURNING}".encode())[:32]
    return cache.folder() / "image_folders" / f"{name}.json"


def _check_new(
    root: Path, files: Sequence[File], notes: dict[str, Note], tell: Callable[[str], None]
) -> None:
    """Read files in threads, find out whether they can be decoded, and add that to `notes`."""
    count = counter(tell, len(files), "images checked")
    pool = ThreadPoolExecutor(cores.available())
    try:
        parts = [files[first : first + _AT_ONCE] for first in range(0, len(files), _AT_ONCE)]
        tasks = [pool.submit(_check_part, str(root), part) for part in parts]
        done = 0
        for task in as_completed(tasks):
            notes.update(task.result())
            done += len(task.result())
            count(done)
    finally:
        pool.shutdown(cancel_futures=True)


def _check_part(root: str, files: Sequence[File]) -> dict[str, Note]:
    return {file.path: _check_file(root, file) for file in files}


def _check_file(root: str, file: File) -> Note:
    digest, turned, problem = "", False, ""
    try:
        data = read(root, file)
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}"
    else:
        if data is None:
            raise OSError(f"{root}/{file.path}: it changed while it was checked; run it again")
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        try:
            turned = decode.verify(data)
        except decode.BadImage as error:
            problem = str(error)
    return Note(file.size, file.mtime_ns, digest, turned, problem)


def read(root: str, file: File) -> bytes | None:
    """Read a file; give None where it is no longer as it was when the folder was scanned.

    Args:
      root: the folder.
      file: as it was then.

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
