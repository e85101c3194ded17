"""Estimates of the time and the disk space that training takes.

Time is estimated by earlier speeds on this machine, which are kept in the user's cache.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from mnv2_jax import cache, checksums
from mnv2_jax.ablation import records
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.train import environment

_BLOCK = 4096
_FILES_PER_RUN = 6
_BYTES_PER_EPOCH = 700  # A line of metrics, and TensorBoard's.
_STATES = 3  # Parameters, optimizer state and averages, each of about the same size.
_CHECKPOINTS = 2


def note(workdir: Path, cohorts: Sequence[Cohort]) -> None:
    """Store the speed of finished runs on these devices in the user's cache folder."""
    speeds = _read()
    took: dict[str, list[tuple[float, float]]] = {}
    for cohort in cohorts:
        rows = [row for run in cohort.runs if (row := records.read(workdir, run.id))]
        seconds = sum(row["seconds"] for row in rows if row["device"] == here())
        if seconds > 0:
            work = cohort.work / len(cohort.runs) * len(rows)
            took.setdefault(_kind(cohort), []).append((work, seconds))
    for kind, cohorts_of_kind in took.items():
        work, seconds = map(sum, zip(*cohorts_of_kind, strict=True))
        speeds.setdefault(here(), {})[kind] = work / seconds
    with contextlib.suppress(OSError):  # The next estimate is missing or older.
        checksums.write_json(_path(), speeds, indent=1)


def seconds(cohort: Cohort) -> float | None:
    """Estimate the training time of a cohort on these devices, in seconds.

    Goes by the network of the same preset that is nearest in cost; None if none was trained here.
    """
    speeds = {
        int(madds): speed
        for kind, speed in _read().get(here(), {}).items()
        for preset, _, madds in [kind.rpartition(" ")]
        if preset == _preset(cohort)
    }
    if not speeds:
        return None
    nearest = min(speeds, key=lambda madds: abs(madds - cohort.cost.madds))
    return cohort.work / speeds[nearest]


def disk(cohorts: Sequence[Cohort]) -> int:
    """Estimate the bytes of all records and of the checkpoints of the largest cohort."""
    records_size = sum(
        len(cohort.runs)
        * (_FILES_PER_RUN * _BLOCK + cohort.program.recipe.epochs * _BYTES_PER_EPOCH)
        for cohort in cohorts
    )
    checkpoints = (
        _CHECKPOINTS * _STATES * 4 * cohort.cost.params_with_statistics * len(cohort.runs)
        for cohort in cohorts
    )
    return records_size + max(checkpoints, default=0)


def here() -> str:
    """Return the name of this process's devices."""
    return environment.device_name(jax.devices())


def _kind(cohort: Cohort) -> str:
    return f"{_preset(cohort)} {cohort.cost.madds}"


def _preset(cohort: Cohort) -> str:
    return str(cohort.runs[0].config.model.preset)


def _read() -> dict[str, Any]:
    try:
        return checksums.read_json(_path())
    except (OSError, checksums.DamagedError):
        return {}


def _path() -> Path:
    return cache.folder() / "speeds.json"
