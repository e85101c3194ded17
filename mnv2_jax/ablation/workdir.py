"""The folder of an experiment: one process at a time writes to it."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from mnv2_jax import atomic

_LOCK = ".lock"


@contextlib.contextmanager
def claimed(workdir: Path) -> Iterator[None]:
    """Makes the folder if need be, and keeps other processes out while the block runs.

    The claim ends with the process, however it ends.

    Raises:
      ValueError: it is a file, cannot be written to, or another process has claimed it; the message
        tells which process, on which host.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"--workdir={workdir}: it is a file; expected a folder")
    try:
        with atomic.folder(workdir / ".writable"):
            pass
        (workdir / ".writable").rmdir()
        # Kept after the block: a process that waits for a lock must not hold one of a removed file.
        lock = (workdir / _LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(
            f"--workdir={workdir}: cannot write there ({reason}); expected a folder to write to"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"--workdir={workdir}: {_holder(workdir)} is at work there; "
                f"expected another folder, or to wait for it"
            ) from None
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
        lock.flush()
        yield


def _holder(workdir: Path) -> str:
    try:
        holder = json.loads((workdir / _LOCK).read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError):  # Between the lock and what is written of it.
        return "another process"
