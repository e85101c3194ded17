"""Tidies an experiment's folder before training: damaged files and leftovers of kills."""

import os
from collections.abc import Iterable
from pathlib import Path

from mnv2_jax import atomic, checksums, schema, side_tables
from mnv2_jax.ablation import heartbeat, records

FOLDER = ".damaged"
"""The folder that damaged files are moved into, beside their place."""


def tidy(workdir: Path, runs: Iterable[str], *, alone: bool) -> list[str]:
    """Put damaged files aside, so that they are made again.

    Args:
      workdir: the experiment's folder, which this process has claimed.
      runs: ids of the runs whose records are checked.
      alone: no other process works in the folder: remove the leftovers of killed ones.

    Returns:
      A line for each file or folder that was put aside, with the reason and its new place.

    Raises:
      OSError: the folder cannot be written to.
    """
    if alone:
        _remove_leftovers(workdir)
    with atomic.in_turns(workdir / ".results.lock"):
        return [
            *(
                put_aside(workdir / "runs" / run, f"{reason}; the run is trained again")
                for run in runs
                if (reason := _damage(workdir, run))
            ),
            *(
                put_aside(path, f"{reason}; experiments.evaluate writes it anew")
                for path, reason in side_tables.read_whole(workdir)[1].items()
            ),
            *(
                put_aside(path, f"{path}: it is no folder")
                for path in (workdir / name for name in schema.FOLDERS)
                if os.path.lexists(path) and not path.is_dir()
            ),
            *(
                put_aside(path, f"{path}: it is no regular file")
                for path in _files(workdir)
                if os.path.lexists(path) and not path.is_file()
            ),
        ]


def put_aside(path: Path, reason: str) -> str:
    """Move a damaged file or folder into `FOLDER` beside it.

    Returns:
      A line with the reason and its new place.

    Raises:
      OSError: the folder cannot be written to.
    """
    aside = path.parent / FOLDER / path.name
    aside.parent.mkdir(exist_ok=True)
    atomic.remove(aside)
    path.rename(aside)
    return f"{reason}; what was there is put aside as {aside}"


def _damage(workdir: Path, run: str) -> str:
    try:
        records.read_checked(workdir, run)
    except checksums.DamagedError as error:
        return str(error)
    return ""


def _files(workdir: Path) -> list[Path]:
    patterns = [file.path for file in schema.FILES if file.tidied]
    return [path for one in patterns for path in workdir.glob(one) if path.name[0] != "."]


def _remove_leftovers(workdir: Path) -> None:
    """Remove unfinished files and heartbeats of killed processes."""
    folders = [
        workdir,
        *(workdir / name for name in schema.FOLDERS),
        *workdir.glob("checkpoints/*"),
    ]
    for folder in folders:
        for path in folder.glob(".*.tmp"):
            atomic.remove(path)
    heartbeat.remove_dead(workdir)
