"""How fast networks trained on this machine before: what `--dry_run` estimates time by."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from mnv2_jax import cache, checksums
from mnv2_jax.ablation import records
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.train import runlog


def note(workdir: Path, cohorts: Sequence[Cohort]) -> None:
    """Keeps what finished runs took on these devices, in the user's cache folder."""
    known = _read()
    took: dict[str, list[tuple[float, float]]] = {}
    for cohort in cohorts:
        rows = [row for run in cohort.runs if (row := records.read(workdir, run.id))]
        seconds = sum(row["seconds"] for row in rows if row["device"] == here())
        if seconds > 0:
            work = cohort.work / len(cohort.runs) * len(rows)
            took.setdefault(_kind(cohort), []).append((work, seconds))
    for kind, cohorts_of_kind in took.items():
        work, seconds = map(sum, zip(*cohorts_of_kind, strict=True))
        known.setdefault(here(), {})[kind] = work / seconds
    with contextlib.suppress(OSError):  # An estimate the less.
        checksums.write_json(_path(), known, indent=1)


def seconds(cohort: Cohort) -> float | None:
    """What the training of a cohort is likely to take here, or None where nothing is known.

    Known are networks of the same preset; of those of other cost, the nearest is taken.
    """
    found = _read().get(here(), {})
    speeds = {
        int(madds): speed
        for kind, speed in found.items()
        for preset, _, madds in [kind.rpartition(" ")]
        if preset == _preset(cohort)
    }
    if not speeds:
        return None
    nearest = min(speeds, key=lambda madds: abs(madds - cohort.cost.madds))
    return cohort.work / speeds[nearest]


def here() -> str:
    """The devices of this process."""
    return runlog.device_name(jax.devices())


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
