"""Joins the records of one experiment that was trained in several folders."""

import filecmp
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnv2_jax import atomic
from mnv2_jax.ablation import records

_SAME = ("config.json", "metrics.jsonl")
"""The files that have to be alike in two records of one run."""

_OF_THE_MACHINE = ("seconds", "lanes", "device")
"""The fields of result.json that depend on where a run was trained, and in what company."""

_IMAGES = "fingerprint of the images"


def merge(workdir: Path, sources: Sequence[Path]) -> dict[str, int]:
    """Copies the records of finished runs into one folder.

    Nothing is copied before everything has been compared.

    Args:
      workdir: where to; records that are there stay.
      sources: where from.

    Returns:
      How many runs were copied, and how many were there before, under `copied` and `known`.

    Raises:
      ValueError: a source is no experiment's folder, or two folders hold other results of one run.
      OSError: a record cannot be read or written.
    """
    chosen: dict[str, Path] = {}
    known = 0
    for source in sources:
        if not (source / "runs").is_dir():
            raise ValueError(f"{source}: it has no folder runs/; expected that of an experiment")
        for record in sorted((source / "runs").iterdir()):
            if records.read(source, record.name) is None:
                continue  # Not finished, or not whole.
            mine = workdir / "runs" / record.name
            other = mine if records.read(workdir, record.name) else chosen.get(record.name)
            if other is None:
                chosen[record.name] = record
            else:
                _check_same(other, record)
                known += 1
    stated = _first_stated([workdir, *sources])
    for run, record in chosen.items():
        target = workdir / "runs" / run
        if target.exists():  # What is left of a record that cannot be read.
            shutil.rmtree(target)
        with atomic.folder(target) as staging:
            shutil.copytree(record, staging, dirs_exist_ok=True)
    if stated:
        atomic.write_text(workdir / "stated.json", json.dumps(stated, indent=2) + "\n")
    return {"copied": len(chosen), "known": known}


def _check_same(one: Path, other: Path) -> None:
    """Compares two records of one run in all that does not depend on where it was trained."""
    folders = one.parents[1], other.parents[1]
    mine, theirs = (_measured(folder, one.name) for folder in folders)
    for field in dict.fromkeys([*mine, *theirs]):
        values = mine.get(field), theirs.get(field)
        # Records of older versions do not tell which images they are of.
        if values[0] != values[1] and not (field == _IMAGES and None in values):
            raise ValueError(
                f"{folders[1]}: run {one.name}: its {field} is {values[1]}, but {values[0]} in "
                f"{folders[0]}; expected one result per run: remove one of the two folders"
            )
    _, different, unreadable = filecmp.cmpfiles(one, other, _SAME, shallow=False)
    if different or unreadable:
        raise ValueError(
            f"{other}: its {', '.join([*different, *unreadable])} differs from that in {one}; "
            f"expected one result per run: remove one of the two folders"
        )


def _measured(workdir: Path, run: str) -> dict[str, Any]:
    row = records.read(workdir, run) or {}
    images = records.read_environment(workdir, run).get("data")
    return {
        **{field: value for field, value in row.items() if field not in _OF_THE_MACHINE},
        _IMAGES: images,
    }


def _first_stated(folders: Sequence[Path]) -> dict[str, dict[str, object]]:
    """Of every claim when it was stated first, as in `mnv2_jax.analysis.stated`."""
    entries: dict[str, dict[str, object]] = {}
    for folder in folders:
        path = folder / "stated.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError:
            raise ValueError(
                f"{path}: it is damaged; expected when claims were stated: remove it to do without"
            ) from None
        for claim, entry in found.items():
            earlier = entries.setdefault(claim, entry)
            if str(entry["when"]) < str(earlier["when"]):
                entries[claim] = entry
    return entries
