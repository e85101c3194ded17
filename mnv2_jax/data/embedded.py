"""Data sets that are embedded in a package, prepared on first use."""

import contextlib
import functools
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnv2_jax.data.stored import prepared


def prepare(name: str, folder: Path, tell: Callable[[str], None]) -> None:
    """Prepare an embedded data set, unless it is complete already.

    Args:
      name: one of `EMBEDDED`.
      folder: of prepared data sets.
      tell: is called with a line where a damaged data set is prepared again.

    Raises:
      OSError: the folder cannot be written to.
    """
    holder = folder / name
    if _is_whole(name, folder, _stamp(holder)):
        return
    import tensorflow_datasets as tfds  # Takes seconds to import.

    tfds.disable_progress_bar()
    try:
        holder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{holder}: cannot be made ({error.strerror}); expected --data_dir, or else "
            f"XDG_CACHE_HOME or HOME, to name a folder to write to"
        ) from error
    # Several processes may prepare the same set at once: each fills a folder of its own, and the
    # first to finish renames it.
    with tempfile.TemporaryDirectory(dir=holder, prefix=".", suffix=".tmp") as beside:
        builder = EMBEDDED[name](Path(beside))
        target = holder / str(builder.version)
        if target.exists():
            tell(f"{target}: the data set was damaged or half written, and is prepared anew")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces downloads.
                builder.download_and_prepare()
        except RuntimeError as error:  # Of array_record, such as a full disk.
            raise OSError(f"{target}: cannot be written ({error})") from error
        if not _is_whole(name, Path(beside), _stamp(Path(beside, name))):
            raise OSError(f"{target}: it was not written whole; expected more room on its disk")
        if _is_whole(name, folder, _stamp(holder)):  # By another process.
            return
        if target.exists():
            target.rename(Path(beside, "damaged"))
        try:
            Path(beside, name, target.name).rename(target)
        except OSError:
            if not target.exists():
                raise


_Stamp = tuple[tuple[str, int, int], ...]


def _stamp(holder: Path) -> _Stamp:
    """Return paths, sizes and times of change of the files of a data set's versions."""
    files = ((path, path.stat()) for path in sorted(holder.glob("[0-9]*/*")))
    return tuple((str(path), status.st_size, status.st_mtime_ns) for path, status in files)


@functools.lru_cache(maxsize=8)
def _is_whole(name: str, folder: Path, stamp: _Stamp) -> bool:
    """Return whether every record of a data set can be read. Reads once for each stamp."""
    if not stamp:
        return False
    try:
        opened = prepared.find(name, folder)
        for split in opened.splits:
            for _ in opened.records(split, f"data.{split}"):
                pass
    except (OSError, ValueError):
        return False
    return True


def _digits(folder: Path) -> Any:
    from mnv2_jax.data.digits import Digits

    return Digits(data_dir=folder, file_format="array_record")


EMBEDDED: dict[str, Callable[[Path], Any]] = {"digits": _digits}
"""Data sets that come with a package, prepared on first use: functions that take a folder and
return a TFDS builder. `experiments.prepare` prepares other data sets of TFDS."""
