"""The check of a folder of images: each file is read once, hashed and verified."""

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
"""Number of files that a thread checks in a row."""


class Note(NamedTuple):
    """The result of checking a file, valid until its size or time of change differs.

    Attributes:
      size: bytes; see `File`.
      mtime_ns: time of the last change; see `File`.
      digest: BLAKE2b of the file's bytes, 32 hexadecimal digits; "" if it cannot be read.
      turned: decoding turns the image; see `decode.TURNING`.
      problem: reason why the file cannot be read or decoded, or "".
    """

    size: int
    mtime_ns: int
    digest: str
    turned: bool
    problem: str


Notes = Mapping[str, Note]
"""The results by the files' paths."""


def check_files(folder: ImageFolder, tell: Callable[[str], None]) -> Notes:
    """Check the files of a folder that are new or have changed since the last check.

    The results are kept in the user's cache folder.

    Args:
      folder: its index.
      tell: is called with a line about the progress now and then.

    Returns:
      The results of all files.

    Raises:
      OSError: a file changes during the check.
    """
    files = [file for of_split in folder.splits.values() for file in of_split]
    cached: dict[str, Note] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):  # Missing or damaged.
        text = checksums.read_text(_cache_file(folder.root))
        cached = {path: Note(*note) for path, *note in json.loads(text)}
    notes = {
        file.path: note
        for file in files
        if (note := cached.get(file.path))
        and note[:2] == (file.size, file.mtime_ns)
        and note.digest  # A file that could not be read may be readable now.
    }
    try:
        _check_new(folder.root, [file for file in files if file.path not in notes], notes, tell)
    finally:  # The next check goes on after an interrupted one.
        if notes != cached:
            text = json.dumps([[path, *note] for path, note in notes.items()])
            # A cache that cannot be written costs time only; so does a user without a home.
            with contextlib.suppress(OSError, ValueError):
                checksums.write_text(_cache_file(folder.root), text)
    return notes


def _cache_file(root: Path) -> Path:
    """Return the file of the results; another rule of decoding has another one."""
    name = checksums.sum_of(f"{root.resolve()}\n{decode.TURNING}".encode())[:32]
    return cache.folder() / "image_folders" / f"{name}.json"


def _check_new(
    root: Path, files: Sequence[File], notes: dict[str, Note], tell: Callable[[str], None]
) -> None:
    """Check files in threads, and add the results to `notes`."""
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
    """Read a file of the folder `root`; return None if it has changed since the folder was scanned.

    Raises:
      OSError: it cannot be read, or is no regular file.
    """
    # A pipe would block without O_NONBLOCK.
    handle = os.open(f"{root}/{file.path}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb", buffering=0) as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        data = opened.read()
        mtime_ns = os.fstat(handle).st_mtime_ns
    return data if (len(data), mtime_ns) == (file.size, file.mtime_ns) else None
