"""Files that are either whole or absent: written beside their place, then renamed into it.

And folders that one process at a time writes to.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LOCK = ".lock"


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, replacing what was there in one step.

    A reader, or a process killed at any moment, sees the old file or the new one, never a part.

    Raises:
      OSError: the folder cannot be written to, or the disk is full; it names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; results are meant to be shared like any other file.
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8 to `path`, replacing what was there in one step; see `write_bytes`."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder to fill, which becomes `path` when the block ends without an error.

    An unfinished folder is removed; if `path` exists already when the block ends, it is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    staging.chmod(0o777 & ~_umask())
    try:
        yield staging
        if not path.exists():
            with contextlib.suppress(FileExistsError):
                staging.rename(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def in_turns(path: Path) -> Iterator[None]:
    """Lets one process at a time into the block, the others waiting; `path` is the lock's file."""
    with path.open("a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def claimed(path: Path, field: str, part: str = "") -> Iterator[None]:
    """Makes a folder if need be, and keeps other processes out while the block runs.

    The claim ends with the process, however it ends. A claim of a part keeps out those that claim
    the same part or the whole.

    Args:
      path: the folder.
      field: what messages begin with: how the folder was named, such as "--workdir=runs/six".
      part: names a part of what is done in the folder; empty for the whole.

    Raises:
      ValueError: it is a file, cannot be written to, or another process has claimed it; the message
        tells which process, on which host.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{field}: it is a file; expected a folder")
    try:
        with folder(path / ".writable"):
            pass
        with contextlib.suppress(FileNotFoundError):  # Of another process that tries it too.
            (path / ".writable").rmdir()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(
            f"{field}: cannot write there ({reason}); expected a folder to write to"
        ) from None
    with contextlib.ExitStack() as held:
        held.enter_context(_locked(path / _LOCK, field, shared=bool(part)))
        if part:
            held.enter_context(_locked(path / f"{_LOCK}.{part}", field, shared=False))
        yield


@contextlib.contextmanager
def _locked(path: Path, field: str, *, shared: bool) -> Iterator[None]:
    """Holds a lock, alone or with others that share it; the file says who holds it.

    It stays after the block: a process that waits for a lock must not hold one of a removed file.
    """
    with path.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"{field}: {_holder(path)} is at work there; "
                f"expected another folder, or to wait for it"
            ) from None
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
        lock.flush()
        yield


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError):  # Between the lock and what is written of it.
        return "another process"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
