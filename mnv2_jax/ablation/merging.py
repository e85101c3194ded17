"""Joins the folders of one experiment that was trained in several.

A run is what its config is, wherever it was trained: it is copied once, and what two folders hold
of it has to agree.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnv2_jax import atomic, checksums, schema, side_tables
from mnv2_jax.ablation import grid, ids, records
from mnv2_jax.side_tables import SideTable

_IMAGES = "fingerprint of the images"

_Facts = Mapping[tuple[str, str], Any]
"""Facts that have to agree: values by their columns, and by where they stand."""


class Merged(NamedTuple):
    """The outcome of a merge.

    Attributes:
      copied: how many runs were copied.
      known: how many were there before, or in several folders.
      damaged: a line for each record, side table and note of when claims were stated that was left
        out.
    """

    copied: int
    known: int
    damaged: tuple[str, ...]


def merge(workdir: Path, sources: Sequence[Path]) -> Merged:
    """Copy finished runs, their side tables, and when claims were stated first, into one folder.

    Nothing is copied before everything has been compared.

    Args:
      workdir: where to; runs that are there stay.
      sources: where from.

    Raises:
      ValueError: a source is no experiment's folder, or two folders hold other results of one run.
      OSError: a file cannot be read or written.
    """
    folders = [workdir, *sources]
    damaged: list[str] = []
    found: dict[str, Path] = {}
    count = 0
    for folder in sources:
        if not (folder / "runs").is_dir():
            raise ValueError(f"{folder}: it has no folder runs/; expected that of an experiment")
        for run in sorted(path.name for path in (folder / "runs").glob("[!.]*")):
            try:
                records.read_checked(folder, run)
            except checksums.DamagedError as error:
                damaged.append(str(error))
                continue
            count += 1
            other = found.setdefault(run, workdir if records.read(workdir, run) else folder)
            if other != folder:
                _check_agree(f"run {run}", other, folder, _of_run(other, run), _of_run(folder, run))
    tables = _joined(folders, damaged)
    stated = _first_stated(folders, damaged)
    new = {run: folder / "runs" / run for run, folder in found.items() if folder != workdir}
    for run, record in new.items():
        target = workdir / "runs" / run
        atomic.remove(target)  # What is left of a record that is damaged.
        network = record / schema.NETWORK
        kept = [schema.NETWORK] if network.is_file() and not network.is_symlink() else []
        with atomic.folder(target) as staging:
            for name in (*kept, *schema.RECORD):
                shutil.copyfile(record / name, staging / name)
    for table in tables:
        of_records = {run: side_tables.record_of(workdir, run) for run in table.rows}
        side_tables.write(workdir, table._replace(records=of_records))
    if stated:
        checksums.write_json(workdir / "stated.json", stated, indent=2)
    return Merged(len(new), count - len(new), tuple(damaged))


def _check_agree(what: str, one: Path, other: Path, mine: _Facts, theirs: _Facts) -> None:
    """Compare what two folders hold; one may have metrics that the other lacks."""
    for key in dict.fromkeys([*mine, *theirs]):
        (name, place), here, there = key, mine.get(key), theirs.get(key)
        if here != there and not (_may_lack(name) and not (key in mine and key in theirs)):
            raise ValueError(
                f"{other}: {what}: its {name}{place} is {there}, but {here} in {one}; expected one "
                f"result per run: remove one of the two folders"
            )


def _may_lack(name: str) -> bool:
    """Return whether an older record, or one of another config, may lack a column."""
    if name == _IMAGES or side_tables.is_of_side_table(name):
        return True
    column = schema.column(name)
    return column.kind != "axis" and column.since != "0.1"


def _of_run(workdir: Path, run: str) -> _Facts:
    """Return a record, but for where, when and in what company its run was trained."""
    folder = workdir / "runs" / run
    row = records.read_checked(workdir, run) or {}
    facts = {(name, ""): row[name] for name in row if not schema.column(name).of_machine}
    if images := records.read_environment(workdir, run).get("data"):
        facts[_IMAGES, ""] = images
    config = ids.without_neutral(checksums.read_json(folder / "config.json"))
    facts |= {(name, " in config.json"): value for name, value in grid.fields(config).items()}
    path = folder / "metrics.jsonl"
    for number, line in enumerate(checksums.read_bytes(path).splitlines(), start=1):
        of_epoch = checksums.parse(line, path)
        facts |= {(name, f" in line {number} of {path.name}"): of_epoch[name] for name in of_epoch}
    return facts


def _of_table(table: SideTable) -> _Facts:
    about = {(name, ""): table.about.get(name) for name in ("split", "data", "evaluator")}
    rows = {
        (name, f" of run {run}"): value
        for run, row in table.rows.items()
        for name, value in row.items()
    }
    return {**about, **rows}


def _joined(folders: Sequence[Path], damaged: list[str]) -> list[SideTable]:
    """Return the side tables of all folders, joined by name, of runs as they are now."""
    read: list[tuple[Path, SideTable]] = []
    joined: dict[str, SideTable] = {}
    for folder in folders:
        whole, others = side_tables.read_whole(folder)
        damaged.extend(others.values())
        for found in whole:
            now = {run: side_tables.record_of(folder, run) for run in found.rows}
            rows = {run: found.rows[run] for run in now if now[run] == found.records.get(run)}
            table = found._replace(rows=rows)
            for other, known in read:
                if known.name == table.name:
                    what = f"side table {table.name}"
                    _check_agree(what, other, folder, _of_table(known), _of_table(table))
            read.append((folder, table))
            first = joined.get(table.name, table)
            joined[table.name] = first._replace(
                columns={**table.columns, **first.columns},
                rows={
                    run: {**table.rows.get(run, {}), **first.rows.get(run, {})}
                    for run in (*first.rows, *table.rows)
                },
            )
    return [*joined.values()]


def _first_stated(folders: Sequence[Path], damaged: list[str]) -> dict[str, dict[str, Any]]:
    """Of every claim when it was stated first; see `mnv2_jax.analysis.stated`."""
    entries: dict[str, dict[str, Any]] = {}
    for path in (folder / "stated.json" for folder in folders):
        try:
            found = checksums.read_json(path)
            when = {claim: str(entry["when"]) for claim, entry in found.items()}
        except FileNotFoundError:
            continue
        except checksums.DamagedError as error:
            damaged.append(str(error))
            continue
        except (LookupError, TypeError):
            damaged.append(str(checksums.damaged(path, "expected when claims were stated")))
            continue
        for claim, moment in when.items():
            if claim not in entries or moment < str(entries[claim]["when"]):
                entries[claim] = found[claim]
    return entries
