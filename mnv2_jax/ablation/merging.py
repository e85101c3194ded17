"""Joins the records of one experiment that was trained in several folders."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnv2_jax import atomic, checksums, schema
from mnv2_jax.ablation import grid, ids, records

_IMAGES = "fingerprint of the images"


@dataclasses.dataclass(frozen=True)
class Merged:
    """What a merge came to.

    Attributes:
      copied: how many runs were copied.
      known: how many were there before, or in several folders.
      damaged: a line for each record, and each note of when claims were stated, that was left out.
    """

    copied: int
    known: int
    damaged: tuple[str, ...]


def merge(workdir: Path, sources: Sequence[Path]) -> Merged:
    """Copies the records of finished runs into one folder.

    Nothing is copied before everything has been compared.

    Args:
      workdir: where to; records that are there stay.
      sources: where from.

    Raises:
      ValueError: a source is no experiment's folder, or two folders hold other results of one run.
      OSError: a record cannot be read or written.
    """
    chosen: dict[str, Path] = {}
    damaged = []
    known = 0
    for source in sources:
        if not (source / "runs").is_dir():
            raise ValueError(f"{source}: it has no folder runs/; expected that of an experiment")
        for record in sorted((source / "runs").glob("[!.]*")):
            try:
                records.read_checked(source, record.name)
            except checksums.DamagedError as error:
                damaged.append(str(error))
                continue
            mine = workdir / "runs" / record.name
            other = mine if records.read(workdir, record.name) else chosen.get(record.name)
            if other is None:
                chosen[record.name] = record
            else:
                _check_same(other, record)
                known += 1
    stated, lost = _first_stated([workdir, *sources])
    for run, record in chosen.items():
        target = workdir / "runs" / run
        atomic.remove(target)  # What is left of a record that is damaged.
        with atomic.folder(target) as staging:
            for name in schema.RECORD:
                atomic.write_bytes(staging / name, checksums.read_bytes(record / name))
            network = record / schema.NETWORK
            if network.is_file() and not network.is_symlink():
                shutil.copyfile(network, staging / schema.NETWORK)
    if stated:
        checksums.write_json(workdir / "stated.json", stated, indent=2)
    return Merged(len(chosen), known, (*damaged, *lost))


def _check_same(one: Path, other: Path) -> None:
    """Compares two records of one run in all that does not depend on where it was trained.

    One may have metrics, and fields at their neutral values, that the other lacks.
    """
    folders = one.parents[1], other.parents[1]
    mine, theirs = (_measured(folder, one.name) for folder in folders)
    for field in dict.fromkeys([*mine, *theirs]):
        if _may_lack(field) and not (field in mine and field in theirs):
            continue
        values = mine.get(field), theirs.get(field)
        # Records of older versions do not tell which images they are of.
        if values[0] != values[1] and not (field == _IMAGES and None in values):
            raise ValueError(
                f"{folders[1]}: run {one.name}: its {field} is {values[1]}, but {values[0]} in "
                f"{folders[0]}; expected one result per run: remove one of the two folders"
            )
    for name, read in (("config.json", _identity), ("metrics.jsonl", _curve)):
        if not _agree(read(one / name), read(other / name)):
            raise ValueError(
                f"{other}: its {name} differs from that in {one}; expected one result per run: "
                f"remove one of the two folders"
            )


def _may_lack(field: str) -> bool:
    """Return whether a field is a metric that an older record, or another config, may lack."""
    column = schema.column(field)
    return column.kind != "axis" and column.since != "0.1"


def _identity(path: Path) -> list[dict[str, Any]]:
    return [grid.fields(ids.without_neutral(checksums.read_json(path)))]


def _curve(path: Path) -> list[dict[str, Any]]:
    return [checksums.parse(line, path) for line in checksums.read_bytes(path).splitlines()]


def _agree(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether rows are the same but for metrics that either side alone has."""
    if len(one) != len(other):
        return False
    alone = {name for row, its in zip(one, other, strict=True) for name in row.keys() ^ its.keys()}
    if not all(map(_may_lack, alone)):
        return False
    pairs = zip(one, other, strict=True)
    return all(row[name] == its[name] for row, its in pairs for name in row.keys() & its.keys())


def _measured(workdir: Path, run: str) -> dict[str, Any]:
    row = records.read(workdir, run) or {}
    images = records.read_environment(workdir, run).get("data")
    return {
        **{name: value for name, value in row.items() if not schema.column(name).of_machine},
        _IMAGES: images,
    }


def _first_stated(folders: Sequence[Path]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Of every claim when it was stated first, as `mnv2_jax.analysis.stated`; what is damaged."""
    entries: dict[str, dict[str, Any]] = {}
    lost = []
    for folder in folders:
        path = folder / "stated.json"
        try:
            found = checksums.read_json(path)
            when = {claim: str(entry["when"]) for claim, entry in found.items()}
        except FileNotFoundError:
            continue
        except checksums.DamagedError as error:
            lost.append(str(error))
            continue
        except (LookupError, TypeError):
            lost.append(str(checksums.damaged(path, "expected when claims were stated")))
            continue
        for claim, moment in when.items():
            if claim not in entries or moment < str(entries[claim]["when"]):
                entries[claim] = found[claim]
    return entries, lost
