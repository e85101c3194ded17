"""Merges the folders of an experiment that was trained in several.

A run is identified by its config: it is copied once, and two records of it have to agree.
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
"""Values that have to agree, by the name of their column and their place in a record."""


class Merged(NamedTuple):
    """The outcome of a merge.

    Attributes:
      copied: number of copied runs.
      known: number of records of runs that another folder has too.
      damaged: a line for each record, side table and `stated.json` that was left out.
    """

    copied: int
    known: int
    damaged: tuple[str, ...]


def merge(workdir: Path, sources: Sequence[Path]) -> Merged:
    """Copy finished runs, side tables and the first statements of claims into one folder.

    Everything is compared before anything is copied.

    Raises:
      ValueError: a source is no experiment's folder, or two folders have different results of a
        run.
      OSError: a file cannot be read or written.
    """
    folders = [workdir, *sources]
    damaged: list[str] = []
    first: dict[str, Path] = {}  # Of each run, the first folder that has it.
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
            other = first.setdefault(run, workdir if records.read(workdir, run) else folder)
            if other != folder:
                facts = _run_facts(other, run), _run_facts(folder, run)
                _check_agree(f"run {run}", other, folder, *facts)
    tables = _joined(folders, damaged)
    stated = _first_stated(folders, damaged)
    new = {run: folder / "runs" / run for run, folder in first.items() if folder != workdir}
    for run, record in new.items():
        target = workdir / "runs" / run
        atomic.remove(target)  # A damaged record, if any.
        kept = [
            name
            for name in schema.BESIDE_RECORDS
            if (record / name).is_file() and not (record / name).is_symlink()
        ]
        with atomic.folder(target) as staging:
            for name in (*kept, *schema.RECORD):
                shutil.copyfile(record / name, staging / name)
    for table in tables:
        of_records = {run: side_tables.record_of(workdir, run) for run in table.rows}
        side_tables.write(workdir, table._replace(records=of_records))
    if stated:
        checksums.write_json(workdir / "stated.json", stated, indent=2)
    return Merged(len(new), count - len(new), tuple(damaged))


def _check_agree(what: str, first: Path, second: Path, left: _Facts, right: _Facts) -> None:
    """Compare the facts of two folders; one may have metrics, or tests, that the other lacks."""
    are_tested = _is_tested(left) and _is_tested(right)
    for key in dict.fromkeys([*left, *right]):
        name, place = key
        is_left_out = name.startswith("test_") and not are_tested
        is_needed = (key in left and key in right) or (_is_needed(name) and not is_left_out)
        if is_needed and left.get(key) != right.get(key):
            raise ValueError(
                f"{second}: {what}: its {name}{place} is {right.get(key)}, but {left.get(key)} in "
                f"{first}; expected one result per run: remove one of the two folders"
            )


def _is_tested(facts: _Facts) -> bool:
    return any(name.startswith("test_") for name, _ in facts)


def _is_needed(name: str) -> bool:
    """Return whether every record has a column, also those of older versions and other metrics."""
    if name == _IMAGES or side_tables.is_of_side_table(name):
        return False
    column = schema.column(name)
    return column.kind == "axis" or column.since == "0.1"


def _run_facts(workdir: Path, run: str) -> _Facts:
    """Return a record without the columns that depend on the machine and on other lanes."""
    folder = workdir / "runs" / run
    row = records.read_checked(workdir, run) or {}
    facts = {(name, ""): row[name] for name in row if not schema.column(name).of_machine}
    if images := records.read_environment(workdir, run).get("data"):
        facts[_IMAGES, ""] = images
    config = ids.without_neutral(checksums.read_json(folder / "config.json"))
    facts |= {(name, " in config.json"): value for name, value in grid.fields(config).items()}
    path = folder / "metrics.jsonl"
    for number, line in enumerate(checksums.read_bytes(path).splitlines(), start=1):
        epoch = checksums.parse(line, path)
        facts |= {(name, f" in line {number} of {path.name}"): epoch[name] for name in epoch}
    return facts


def _table_facts(table: SideTable) -> _Facts:
    about = {(name, ""): table.about.get(name) for name in ("split", "data", "evaluator")}
    rows = {
        (name, f" of run {run}"): value
        for run, row in table.rows.items()
        for name, value in row.items()
    }
    of_blocks = {
        (f"{table.name}/{name}", f" of block {number} of run {run}"): value
        for run, blocks in table.blocks.items()
        for number, block in enumerate(blocks, start=1)
        for name, value in block.values.items()
    }
    return {**about, **rows, **of_blocks}


def _joined(folders: Sequence[Path], damaged: list[str]) -> list[SideTable]:
    """Return the side tables of all folders, joined by name, without rows of replaced records."""
    read: list[tuple[Path, SideTable]] = []
    joined: dict[str, SideTable] = {}
    for folder in folders:
        tables, broken = side_tables.read_whole(folder)
        damaged.extend(broken.values())
        for table in tables:
            now = {run: side_tables.record_of(folder, run) for run in table.rows}
            rows = {run: table.rows[run] for run in now if now[run] == table.records.get(run)}
            table = table._replace(
                rows=rows,
                predictions={run: one for run, one in table.predictions.items() if run in rows},
                blocks={run: blocks for run, blocks in table.blocks.items() if run in rows},
            )
            for other, earlier in read:
                if earlier.name == table.name:
                    what = f"side table {table.name}"
                    _check_agree(what, other, folder, _table_facts(earlier), _table_facts(table))
            read.append((folder, table))
            first = joined.get(table.name, table)
            joined[table.name] = first._replace(
                columns={**table.columns, **first.columns},
                rows={
                    run: {**table.rows.get(run, {}), **first.rows.get(run, {})}
                    for run in (*first.rows, *table.rows)
                },
                predictions={**table.predictions, **first.predictions},
                blocks={**table.blocks, **first.blocks},
                block_columns={**table.block_columns, **first.block_columns},
            )
    return [*joined.values()]


def _first_stated(folders: Sequence[Path], damaged: list[str]) -> dict[str, dict[str, Any]]:
    """Return the first statement of every claim; see `mnv2_jax.analysis.stated`."""
    entries: dict[str, dict[str, Any]] = {}
    for path in (folder / "stated.json" for folder in folders):
        try:
            stated = checksums.read_json(path)
            when = {claim: str(entry["when"]) for claim, entry in stated.items()}
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
                entries[claim] = stated[claim]
    return entries
