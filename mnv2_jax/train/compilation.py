"""Programs that were compiled before are read back: across runs, experiments and processes.

What is read back is native code: a flipped bit gives other numbers, or ends the process. Each entry
of jax's cache has a hash beside it, and is looked at before the first one is used.
"""

import contextlib
import hashlib
import importlib
import os
import stat
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from mnv2_jax import atomic

_SECONDS = 0.5
"""Seconds of compilation, below which a program is as quickly compiled as read."""

_ENTRIES = "*-cache"
_HASH = ".sha256"
_ZLIB = b"\x78"
"""The first byte of zlib. It has a checksum of its own; Zstandard, as jax uses it, has none."""


def keep_programs(folder: Path | None, tell: Callable[[str], None] = lambda line: None) -> None:
    """Keep compiled programs in `folder` from now on; None keeps none.

    Equal programs, of whatever experiment, are compiled once for a kind of device and a version of
    jax. A run's values are arguments of its program, so that another learning rate asks for no
    compilation.

    A folder is private from then on. None is kept in one of another user.

    Args:
      folder: where to keep them.
      tell: is told in a line what is removed, or why none is kept.

    Raises:
      OSError: the folder cannot be made.
    """
    _hashes.folder = None
    if folder is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _make_private(folder, tell)
            _hashes.verify(folder, tell)
        except OSError as error:
            tell(f"{folder}: {error.strerror}; no compiled program is read or kept")
            folder = None
    jax.config.update("jax_compilation_cache_dir", str(folder) if folder else None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _make_private(folder: Path, tell: Callable[[str], None]) -> None:
    """See to it that nobody else can have programs run here.

    Raises:
      OSError: the folder belongs to another user, or its mode cannot be changed.
    """
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise PermissionError(0, "it belongs to another user, whose programs would be run")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
    if folder.stat().st_mode & 0o022:  # As where files have no modes.
        raise PermissionError(0, "others can write there, whose programs would be run")
    if found.st_mode & 0o022:
        removed = sum(_remove(path) for path in _entries(folder))
        tell(
            f"{folder}: others could write there; it is private now, and what was compiled there "
            f"is compiled anew (programs: {removed})"
        )


class _Hashes:
    """The hashes of a folder's entries.

    Attributes:
      folder: the folder that this process keeps programs in, or None.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._known: dict[Path, tuple[int, int]] = {}
        self._lock = threading.Lock()
        jax.monitoring.register_event_duration_secs_listener(self._after)

    def verify(self, folder: Path, tell: Callable[[str], None]) -> None:
        """Remove entries that are not what was written, or may not be.

        jax writes in place and replaces nothing: a torn entry would be warned of and compiled again
        for ever. What another process is writing just now may go too: it is then compiled again.

        Raises:
          OSError: what is to be removed cannot be.
        """
        self._known = {}
        removed = []
        for path in _entries(folder):
            before = _state(path)
            if not _is_sound(path):
                removed += [path.name] * _remove(path)
            elif _hash_of(path).exists():
                self._known[path] = before
        for path in folder.glob(_ENTRIES + _HASH):
            if not path.with_suffix("").exists():
                path.unlink(missing_ok=True)
        self._note(folder)
        self.folder = folder
        if removed:
            tell(
                f"{folder}: compiled programs that are damaged, or have no hash: {len(removed)}; "
                f"removed, to be compiled anew ({removed[0]})"
            )

    def _after(self, event: str, duration_secs: float, **details: str | int) -> None:
        """Listen to jax's times: what takes this long may be kept."""
        if self.folder and duration_secs >= _SECONDS:
            with self._lock:
                self._note(self.folder)

    def _note(self, folder: Path) -> None:
        """Write the hashes of entries that are new; a full disk leaves torn ones, which go."""
        for path in _entries(folder):
            before = _state(path)
            if self._known.get(path) == before:
                continue
            with contextlib.suppress(OSError):  # What has no hash is compiled again next time.
                content = path.read_bytes()
                if _is_whole(content):
                    atomic.write_text(_hash_of(path), hashlib.sha256(content).hexdigest() + "\n")
                    self._known[path] = before
                else:
                    _remove(path)


_hashes = _Hashes()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.glob(_ENTRIES))


def _hash_of(path: Path) -> Path:
    return path.with_name(path.name + _HASH)


def _state(path: Path) -> tuple[int, int]:
    """Return a stamp that changes when a file is written to; (0, 0) of one that is gone."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _remove(path: Path) -> bool:
    """Remove an entry and its hash; gives whether it was there."""
    _hash_of(path).unlink(missing_ok=True)
    try:
        path.unlink()
    except FileNotFoundError:  # Another process was first.
        return False
    return True


def _is_sound(path: Path) -> bool:
    """Return whether an entry is what was written; an earlier version's, if it has a checksum."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # Another one might be waited for.
            return False
        content = path.read_bytes()
        expected = _hash_of(path).read_bytes() if _hash_of(path).is_file() else None
    except FileNotFoundError:
        return False
    if expected is None:
        return content.startswith(_ZLIB) and _is_whole(content)
    return expected.strip() == hashlib.sha256(content).hexdigest().encode()


def _is_whole(entry: bytes) -> bool:
    """Return whether an entry can be unpacked to its end."""
    if entry.startswith(_ZLIB):
        module: Any = zlib
        error: type[Exception] = zlib.error
    else:
        try:
            module = _zstandard()
        except ImportError:
            return False
        error = module.ZstdError
    try:
        module.decompress(entry)
    except (error, EOFError):
        return False
    return True


def _zstandard() -> Any:
    """Return Zstandard as jax uses it, if any: Python's own from 3.14 on, or a package."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return importlib.import_module("zstandard")
