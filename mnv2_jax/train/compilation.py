"""Programs that were compiled before are read back: across runs, experiments and processes."""

import contextlib
import zlib
from pathlib import Path

import jax

_CHECKED = ".checked"


def keep_programs(folder: Path | None) -> None:
    """Keeps compiled programs in `folder` from now on; None keeps none.

    Equal programs, of whatever experiment, are compiled once for a kind of device and a version of
    jax. A run's values are arguments of its program, so that another learning rate asks for no
    compilation.

    Raises:
      OSError: the folder cannot be made.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_torn(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder) if folder else None)
    # What compiles in less than half a second is as quickly compiled as read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _remove_torn(folder: Path) -> None:
    """Removes what a kill, or a full disk, left half written since the last time.

    jax writes in place, never replaces what is there, and would warn of it and compile again for
    ever. What another process is writing just now may go too: it is then compiled once more.
    """
    stamp = folder / _CHECKED
    since = stamp.stat().st_mtime if stamp.exists() else 0.0
    with contextlib.suppress(OSError):  # Read-only, or removed by another process.
        for path in folder.glob("*-cache"):
            if path.stat().st_mtime >= since and not _is_whole(path.read_bytes()):
                path.unlink()
        stamp.touch()


def _is_whole(entry: bytes) -> bool:
    if not entry.startswith(b"\x78"):  # Not of zlib, which jax falls back on without zstandard.
        return True
    try:
        zlib.decompress(entry)
    except zlib.error:
        return False
    return True
