"""A cache of compiled programs, across runs, experiments and processes, with a hash of each.

Entries are native code: a flipped bit gives other numbers, or ends the process. So each entry of
jax's cache has a hash beside it, and all are verified before the first one is used.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import os
import stat
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax

from mnv2_jax import atomic

_SECONDS = 0.5
"""Seconds of compilation below which reading a program is no faster."""

_ENTRIES = "*-cache"
_HASH = ".sha256"
_ZLIB = b"\x78"
"""The first byte of zlib data, which has a checksum. Zstandard, as jax uses it, has none."""


def keep_programs(folder: Path | None, tell: Callable[[str], None] = lambda line: None) -> None:
    """Cache compiled programs in `folder`, which is made private; with None, stop caching.

    Equal programs are compiled once per kind of device and version of jax. Hyperparameters are
    arguments of a program, so that another learning rate needs no compilation.

    Args:
      folder: the folder; one of another user is not used.
      tell: called with a line if programs are removed, or none are cached.

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
    """Keep other users from planting programs.

    Raises:
      OSError: the folder belongs to another user, or its mode cannot be changed.
    """
    before = folder.stat()
    if before.st_uid != os.geteuid():
        raise PermissionError(0, "it belongs to another user, whose programs would be run")
    if before.st_mode & 0o077:
        folder.chmod(0o700)
    if folder.stat().st_mode & 0o022:  # Some file systems have no modes.
        raise PermissionError(0, "others can write there, whose programs would be run")
    if before.st_mode & 0o022:
        removed = sum(_remove(path) for path in _entries(folder))
        tell(
            f"{folder}: others could write there; it is private now, and compiled programs were "
            f"removed, to be compiled again: {removed}"
        )


class _Hashes:
    """The hashes of the entries of the folder that this process caches programs in.

    Attributes:
      folder: the folder, or None.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._known: dict[Path, tuple[int, int]] = {}
        self._lock = threading.Lock()
        jax.monitoring.register_event_duration_secs_listener(self._after_event)

    def verify(self, folder: Path, tell: Callable[[str], None]) -> None:
        """Remove entries that are damaged or have no hash.

        jax writes in place and replaces nothing: a truncated entry would be compiled again, with a
        warning, every time. An entry that another process is writing may be removed too.

        Raises:
          OSError: an entry cannot be removed.
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
                f"{folder}: compiled programs that are damaged or have no hash: {len(removed)}; "
                f"removed, to be compiled again ({removed[0]})"
            )

    def _after_event(self, event: str, duration_secs: float, **details: str | int) -> None:
        """Hash new entries after any event of jax that took long enough to be a compilation."""
        if self.folder and duration_secs >= _SECONDS:
            with self._lock:
                self._note(self.folder)

    def _note(self, folder: Path) -> None:
        """Write the hashes of new entries; remove those that a full disk truncated."""
        for path in _entries(folder):
            before = _state(path)
            if self._known.get(path) == before:
                continue
            with contextlib.suppress(OSError):  # Without a hash, it is compiled again next time.
                content = path.read_bytes()
                if _is_whole(content):
                    atomic.write_text(_hash_of(path), hashlib.sha256(content).hexdigest() + "\n")
                    self._known[path] = before
                else:
                    _remove(path)


_hashes = _Hashes()


@dataclasses.dataclass
class Compilation:
    """Times of compiling.

    Attributes:
      seconds: in all, tracing included.
      compiler: of these, the compiler's: 0 for programs that the cache has.
      entries: names of the programs that were added to the cache.
    """

    seconds: float = 0.0
    compiler: float = 0.0
    entries: tuple[str, ...] = ()


@contextlib.contextmanager
def timed() -> Iterator[Compilation]:
    """Time what this thread compiles while the block runs; complete at its end."""
    measured = Compilation()
    before = set(_entries_here())
    start = time.perf_counter()
    _clock.measured = measured
    try:
        yield measured
    finally:
        _clock.measured = None
        measured.seconds = time.perf_counter() - start
        measured.entries = tuple(name for name in _entries_here() if name not in before)


def are_kept(entries: Iterable[str]) -> bool:
    """Return whether there are such programs, and the cache of this process has all of them."""
    return bool(entries) and set(entries) <= set(_entries_here())


class _Clock(threading.local):
    """Adds up the compiler's seconds in a thread, by jax's events.

    Attributes:
      measured: the compilation that takes place in this thread, if it is timed.
    """

    measured: Compilation | None = None
    _was_cached = False

    def after_event(self, event: str, duration_secs: float, **details: str | int) -> None:
        """Count a compilation, unless the cache had the program: that event comes first."""
        if event == "/jax/compilation_cache/cache_retrieval_time_sec":
            self._was_cached = True
        elif event == "/jax/core/compile/backend_compile_duration":
            if self.measured and not self._was_cached:
                self.measured.compiler += duration_secs
            self._was_cached = False


_clock = _Clock()
jax.monitoring.register_event_duration_secs_listener(_clock.after_event)


def _entries_here() -> list[str]:
    return [path.name for path in _entries(_hashes.folder)] if _hashes.folder else []


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.glob(_ENTRIES))


def _hash_of(path: Path) -> Path:
    return path.with_name(path.name + _HASH)


def _state(path: Path) -> tuple[int, int]:
    """Return a file's time of modification and size; (0, 0) if it is gone."""
    try:
        stats = path.stat()
    except FileNotFoundError:
        return 0, 0
    return stats.st_mtime_ns, stats.st_size


def _remove(path: Path) -> bool:
    """Remove an entry and its hash; return whether it was there."""
    _hash_of(path).unlink(missing_ok=True)
    try:
        path.unlink()
    except FileNotFoundError:  # Another process was first.
        return False
    return True


def _is_sound(path: Path) -> bool:
    """Return whether an entry has its hash; without one (earlier versions), its own checksum."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # Reading a pipe would wait.
            return False
        content = path.read_bytes()
        expected = _hash_of(path).read_bytes() if _hash_of(path).is_file() else None
    except FileNotFoundError:
        return False
    if expected is None:
        return content.startswith(_ZLIB) and _is_whole(content)
    return expected.strip() == hashlib.sha256(content).hexdigest().encode()


def _is_whole(entry: bytes) -> bool:
    """Return whether an entry can be decompressed to its end."""
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
    """Import Zstandard as jax does: Python's own from 3.14 on, or a package."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return importlib.import_module("zstandard")
