"""The message for an error that a full disk, or a limit of file sizes, caused."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mnv2_jax import cache

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk is full, or your share of it; free some space",
    errno.EFBIG: "a file cannot become as large as it has to, see `ulimit -f`; raise the limit",
}


def message(error: BaseException, flags: Mapping[str, Path]) -> str:
    """Return the place that is full and what to do; "" for another error.

    Libraries that write checkpoints raise errors of their own, with the reason in their text.

    Args:
      error: and the errors behind it.
      flags: folders and files that are written, by the flag that names each.
    """
    chain = [error]
    while (behind := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(behind)
    for number, reason in _REASONS.items():
        if any(_has_number(one, number) for one in chain):
            place = _place(chain, flags)
            advice = f"{reason} and run the same command, which goes on"
            return f"{place}: {advice}" if place else advice
    return ""


def _has_number(error: BaseException, number: int) -> bool:
    return getattr(error, "errno", None) == number or os.strerror(number) in str(error)


def _place(chain: Sequence[BaseException], flags: Mapping[str, Path]) -> str:
    """Return the place that could not be written to, as the user named it; "" if unknown."""
    for error in chain:
        if isinstance(error, OSError) and error.filename is not None:
            return _shown(Path(os.fsdecode(error.filename)), flags)
        if isinstance(error, shutil.Error):  # Copies or moves of files: (from, to, reason) each.
            return _shown(Path(error.args[0][0][1]), flags)
        named = str(error).partition(": ")[0]
        if "/" in named:
            return _shown(Path(named), flags)
    try:
        print(end="", flush=True)  # Writes what is still buffered.
    except OSError:
        return "stdout"
    places = [*flags.values(), Path(tempfile.gettempdir()), Path("/dev/shm")]
    with contextlib.suppress(ValueError):
        places.append(cache.folder())
    return next((_shown(place / "any", flags) for place in places if _is_full(place)), "")


def _shown(path: Path, flags: Mapping[str, Path]) -> str:
    """Return the flag that names a path or a folder around it, else the folder that it is in."""
    path = path.absolute()
    for flag, folder in flags.items():
        if folder in (path, *path.parents):
            return flag
    return str(next(folder for folder in path.parents if folder.suffix != ".tmp"))


def _is_full(place: Path) -> bool:
    existing = next((folder for folder in (place, *place.parents) if folder.exists()), None)
    return existing is not None and shutil.disk_usage(existing).free < 2**20
