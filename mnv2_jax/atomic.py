"""Files that are either whole or absent: written beside their place, then renamed into it.

And folders that one process at a time writes to.
"""

import contextlib
import fcntl
import functools
import json
import logging
import os
import random
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote

_LOCK = ".lock"

_TRIES = 5
_SECONDS_BETWEEN_TRIES = 0.05


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, replacing what was there in one step.

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
    """Write `text` as UTF-8 to `path`, replacing what was there in one step; see `write_bytes`."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes `path` when the block ends without an error.

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


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def in_turns(path: Path) -> Iterator[None]:
    """Let one process at a time into the block, the others waiting; `path` is the lock's file."""
    with _opened(path) as lock:
        if _flock(lock, fcntl.LOCK_EX):
            yield
            return
    with contextlib.ExitStack() as held:
        while _claim(path, held, shared=False):
            time.sleep(random.uniform(1, 2) * _SECONDS_BETWEEN_TRIES)
        yield


@contextlib.contextmanager
def claimed(path: Path, field: str, part: str = "") -> Iterator[None]:
    """Make a folder if need be, and keep other processes out while the block runs.

    The claim ends with the process, however it ends. A claim of a part keeps out those that claim
    the same part or the whole.

    Args:
      path: the folder.
      field: what messages begin with: how the folder was named, such as "workdir=runs/six".
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
    """Hold a lock, alone or with others that share it; the file says who holds it.

    It stays after the block: a process that waits for a lock must not hold one of a removed file.
    """
    with _opened(path) as lock, contextlib.ExitStack() as held:
        try:
            supported = _flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            other = "" if supported else _claim(path, held, shared=shared, tries=_TRIES)
        except (BlockingIOError, PermissionError):
            other = _holder(path)
        if other:
            raise ValueError(
                f"{field}: {other} is at work there; expected another folder, or to wait for it"
            )
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
        lock.flush()
        yield


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, LookupError, TypeError):  # Between the lock and what is written.
        return "another process"


def _opened(path: Path) -> IO[str]:
    """Open the file of a lock, and make it if need be.

    Raises:
      ValueError: something else is in its place.
      OSError: it cannot be opened.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path}: expected the file of a lock, which holds nothing; remove it")
    # Not to be waited for, if it has become a pipe since.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666)
    return os.fdopen(handle, "a+", encoding="utf-8")


def _flock(lock: IO[str], how: int) -> bool:
    """Lock a file; whether its file system can.

    Raises:
      BlockingIOError, PermissionError: others hold the lock, and `how` is not to wait for it.
    """
    try:
        fcntl.flock(lock, how)
    except (BlockingIOError, PermissionError):
        raise
    except OSError as error:  # ENOSYS, ENOLCK, ENOTSUP: Lustre, NFS.
        _tell_of_claims(error.strerror or str(error))
        return False
    return True


@functools.cache
def _tell_of_claims(reason: str) -> None:
    logging.getLogger(__name__).warning(
        "files cannot be locked on this file system (%s): folders are claimed by files named "
        "*.held-* instead",
        reason,
    )


def _claim(path: Path, held: contextlib.ExitStack, *, shared: bool, tries: int = 1) -> str:
    """Hold a lock, where the file system has none, until `held` ends; or tell who else holds it.

    Whoever wants it makes a file of its own first and looks for those of others then, so that of
    two at least one sees the other. No name is used twice: the file of a dead process can be
    removed by anyone at any time.
    """
    me = _Claim("shared" if shared else "alone", os.getpid(), started(os.getpid()))
    mine = path.with_name(f"{path.name}.held-{me}")
    other = ""
    for last in range(tries):
        os.close(os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            other = _other_claim(path, mine, shared=shared)
        except BaseException:
            mine.unlink(missing_ok=True)
            raise
        if not other:
            held.callback(mine.unlink, missing_ok=True)
            return ""
        mine.unlink(missing_ok=True)
        if last < tries - 1:  # Those that came at the same moment give way at different ones.
            time.sleep(random.uniform(1, 4) * _SECONDS_BETWEEN_TRIES)
    return other


class _Claim:
    """Contents of the name of a claim's file: its process, and whether it excludes all others."""

    def __init__(self, kind: str, pid: int, started: str, host: str = "", token: str = "") -> None:
        self.kind = kind
        self.pid = pid
        self.started = started
        self.host = host or socket.gethostname()
        self.token = token or secrets.token_hex(4)

    def __str__(self) -> str:
        host = quote(self.host, safe="")
        return f"{self.kind}-{self.pid}-{self.started}-{self.token}-{host}"

    @classmethod
    def parse(cls, text: str) -> "_Claim":
        kind, pid, started, token, host = text.split("-", 4)
        return cls(kind, int(pid), started, unquote(host), token)

    def is_dead(self) -> bool:
        """Return whether its process is known to have ended; of one of another host nothing is."""
        return self.host == socket.gethostname() and not is_alive(self.pid, self.started)


def _other_claim(path: Path, mine: Path, *, shared: bool) -> str:
    """Whose claim keeps that of the file `mine` out, if any; those of the dead are removed."""
    prefix = f"{path.name}.held-"
    for file in path.parent.iterdir():
        if not file.name.startswith(prefix) or file == mine:
            continue
        try:
            claim = _Claim.parse(file.name.removeprefix(prefix))
        except ValueError:  # Nothing of ours.
            continue
        if claim.is_dead():
            file.unlink(missing_ok=True)
        elif not shared or claim.kind == "alone":
            return f"process {claim.pid} on {claim.host} (if it has ended, remove {file})"
    return ""


def is_alive(pid: int, since: str) -> bool:
    """Return whether a process of this host goes on, that began as `started` said."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # Of another user; of no process at all.
        pass
    return since == started(pid)


def started(pid: int) -> str:
    """Return the start of a process here, which tells it from a later one of the same id."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # There is no such file but on Linux.
        return "0"
    return stat.rpartition(")")[2].split()[19]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
