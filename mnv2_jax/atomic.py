"""Atomic writes, and locks on folders.

A file is written under another name and then renamed, so that it is whole or absent.
"""

import contextlib
import dataclasses
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
    """Write `data` to `path` atomically: others see the old file or the new one, never a part.

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
        # mkstemp makes files private; results are shared like any other file.
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically; see `write_bytes`."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder, which is renamed to `path` if the block ends without an error.

    Otherwise it is removed, as it is if `path` exists by then.
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
    """Remove a file, a link or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def in_turns(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; the others wait. `path` is the lock's file."""
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
    """Make a folder if it is missing, and lock other processes out while the block runs.

    The lock ends with the process, however that ends. A claim of a part locks out claims of the
    same part and of the whole.

    Args:
      path: the folder.
      field: the beginning of messages, such as "workdir=runs/six".
      part: the name of a part of the work in the folder; empty for the whole.

    Raises:
      ValueError: it is a file, cannot be written to, or is claimed; the message names the process
        and the host that claimed it.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{field}: it is a file; expected a folder")
    try:
        with folder(path / ".writable"):
            pass
        with contextlib.suppress(FileNotFoundError):  # Another process may try it too.
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
    """Hold a lock while the block runs; the file names the holder.

    The file stays: if it were removed, a process that waits for it would lock a removed file.
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
    except (OSError, ValueError, LookupError, TypeError):  # It is locked, but not yet written.
        return "another process"


def _opened(path: Path) -> IO[str]:
    """Open a lock's file, and make it if it is missing.

    Raises:
      ValueError: it is no regular file.
      OSError: it cannot be opened.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path}: expected the file of a lock, which holds nothing; remove it")
    # O_NONBLOCK: it may have become a pipe since.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666)
    return os.fdopen(handle, "a+", encoding="utf-8")


def _flock(lock: IO[str], how: int) -> bool:
    """Lock a file; return whether its file system supports locks.

    Raises:
      BlockingIOError, PermissionError: others hold the lock, and `how` says not to wait.
    """
    try:
        fcntl.flock(lock, how)
    except (BlockingIOError, PermissionError):
        raise
    except OSError as error:  # ENOSYS, ENOLCK, ENOTSUP: Lustre, NFS.
        _warn_of_claims(error.strerror or str(error))
        return False
    return True


@functools.cache
def _warn_of_claims(reason: str) -> None:
    logging.getLogger(__name__).warning(
        "files cannot be locked on this file system (%s): folders are claimed by files named "
        "*.held-* instead",
        reason,
    )


def _claim(path: Path, held: contextlib.ExitStack, *, shared: bool, tries: int = 1) -> str:
    """Lock without flock until `held` ends; return "" or, if it is taken, the holder.

    A process first makes a file of its own, then looks for those of others: of two processes at
    least one sees the other. No name is used twice, so anyone may remove the file of a dead process
    at any time.
    """
    claim = _Claim("shared" if shared else "alone", os.getpid(), started(os.getpid()))
    mine = path.with_name(f"{path.name}.held-{claim}")
    other = ""
    for number in range(tries):
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
        if number < tries - 1:  # Processes that came at the same moment retry at different ones.
            time.sleep(random.uniform(1, 4) * _SECONDS_BETWEEN_TRIES)
    return other


@dataclasses.dataclass(frozen=True)
class _Claim:
    """A claim, as the name of its file has it.

    Attributes:
      kind: "shared" or "alone".
      pid: of the process.
      started: see `started`.
      host: of the process.
      token: makes the name unique.
    """

    kind: str
    pid: int
    started: str
    host: str = dataclasses.field(default_factory=socket.gethostname)
    token: str = dataclasses.field(default_factory=lambda: secrets.token_hex(4))

    def __str__(self) -> str:
        host = quote(self.host, safe="")
        return f"{self.kind}-{self.pid}-{self.started}-{self.token}-{host}"

    @classmethod
    def parse(cls, text: str) -> "_Claim":
        kind, pid, started, token, host = text.split("-", 4)
        return cls(kind, int(pid), started, unquote(host), token)

    def is_dead(self) -> bool:
        """Return whether its process is known to have ended; on another host it never is."""
        return self.host == socket.gethostname() and not is_alive(self.pid, self.started)


def _other_claim(path: Path, mine: Path, *, shared: bool) -> str:
    """Return who holds a claim against that of the file `mine`; remove claims of dead processes."""
    prefix = f"{path.name}.held-"
    for file in path.parent.iterdir():
        if not file.name.startswith(prefix) or file == mine:
            continue
        try:
            claim = _Claim.parse(file.name.removeprefix(prefix))
        except ValueError:  # No file of this module.
            continue
        if claim.is_dead():
            file.unlink(missing_ok=True)
        elif not shared or claim.kind == "alone":
            return f"process {claim.pid} on {claim.host} (if it has ended, remove {file})"
    return ""


def is_alive(pid: int, since: str) -> bool:
    """Return whether a process of this host is alive and is the one that `started` described."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # Another user's; a number that no process has.
        pass
    return since == started(pid)


def started(pid: int) -> str:
    """Return the start time of a process, which tells it from a later one with the same id."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # Only Linux has this file.
        return "0"
    return stat.rpartition(")")[2].split()[19]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
