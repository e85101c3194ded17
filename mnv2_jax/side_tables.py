"""Side tables: measures of finished runs, taken after their training.

`evaluations/NAME.csv` has a row per run and a column `NAME/MEASURE` per measure;
`evaluations/NAME.json` describes the columns and how they were measured. Where accuracy or loss
are means over images, `evaluations/NAME.npz` has the predictions for each of them. Where blocks of
the networks were measured, `blocks/NAME.csv` has a row per run and block.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mnv2_jax import atomic, checksums, predictions, schema
from mnv2_jax.predictions import Predictions
from mnv2_jax.schema import Column

FOLDER = "evaluations"

OF_BLOCKS = "blocks"
"""The folder of the measures of blocks, and the entry that describes them."""

BLOCK = ("number", "name")
"""The columns of a block beside its run and its measures: its number from 1, and its name."""

_PREDICTIONS = "predictions"
"""The entry of the description that has the checksum of the file of predictions."""


class BlockRow(NamedTuple):
    """The measures of a block of a network.

    Attributes:
      name: as in `mnv2_jax.arch.NetworkSpec.parts`, such as "block_01".
      values: by name those measures that the block has.
    """

    name: str
    values: Mapping[str, float]


class SideTable(NamedTuple):
    """A side table.

    Attributes:
      name: of the file; letters, digits and any of "_-.".
      columns: its measures, by `NAME/MEASURE`.
      rows: by run id the values of the columns that the run has.
      about: how they were measured, as JSON values.
      records: by run id a hash of the record that was measured; see `record_of`.
      predictions: by run id those for each image, where they are known.
      blocks: by run id the measures of its network's blocks, in order, if blocks were measured.
      block_columns: descriptions of these measures, by name.
    """

    name: str
    columns: Mapping[str, Column]
    rows: Mapping[str, Mapping[str, float]]
    about: Mapping[str, Any]
    records: Mapping[str, str]
    predictions: Mapping[str, Predictions] = MappingProxyType({})
    blocks: Mapping[str, Sequence[BlockRow]] = MappingProxyType({})
    block_columns: Mapping[str, Column] = MappingProxyType({})


def is_current(workdir: Path, table: SideTable, run: str) -> bool:
    """Return whether the record of a run is the one that was measured, or there is none to tell."""
    return record_of(workdir, run) in ("", table.records.get(run))


def record_of(workdir: Path, run: str) -> str:
    """Return a hash of the record of a run; "" without a record."""
    try:
        content = checksums.read_bytes(workdir / "runs" / run / schema.RECORD[-1])
    except OSError:
        return ""
    except checksums.DamagedError:  # No regular file: a pipe, say, whose reader would wait.
        return "damaged"
    return checksums.sum_of(content)


def is_of_side_table(column: str) -> bool:
    """Return whether a column has the name of one of a side table."""
    return "/" in column


def write(workdir: Path, table: SideTable) -> Path:
    """Write a side table; return the path of its rows.

    Raises:
      OSError: the folder cannot be written to.
    """
    rows = [[run, *_cells(values, table.columns)] for run, values in table.rows.items()]
    path = workdir / FOLDER / f"{table.name}.csv"
    described: dict[str, Any] = {
        "columns": schema.described(table.columns.values()),
        "about": dict(table.about),
        "records": dict(table.records),
    }
    if table.predictions:
        data = predictions.dumps_runs(table.predictions)
        described[_PREDICTIONS] = checksums.sum_of(data)
        atomic.write_bytes(path.with_suffix(".npz"), data)
    else:
        path.with_suffix(".npz").unlink(missing_ok=True)
    beside = workdir / OF_BLOCKS / path.name
    if table.blocks:
        described[OF_BLOCKS] = schema.described(table.block_columns.values())
        of_blocks = [
            [run, number, block.name, *_cells(block.values, table.block_columns)]
            for run, blocks in table.blocks.items()
            for number, block in enumerate(blocks, start=1)
        ]
        head = ("run_id", *BLOCK, *table.block_columns)
        checksums.write_text(beside, _csv([head, *of_blocks]))
    else:
        beside.unlink(missing_ok=True)
        beside.with_name(beside.name + checksums.BESIDE).unlink(missing_ok=True)
    checksums.write_json(path.with_suffix(".json"), described, indent=2)
    checksums.write_text(path, _csv([("run_id", *table.columns), *rows]))
    return path


def _cells(values: Mapping[str, float], columns: Iterable[str]) -> list[str]:
    return [f"{values[name]:.9g}" if name in values else "" for name in columns]


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_all(workdir: Path) -> list[SideTable]:
    """Read the side tables of a workdir, by name.

    Raises:
      DamagedError: one is damaged.
    """
    return [_read(path) for path in _paths(workdir)]


def read_whole(workdir: Path) -> tuple[list[SideTable], dict[Path, str]]:
    """Read the intact side tables; return them, and an error message for each damaged one."""
    intact, damaged = [], {}
    for path in _paths(workdir):
        try:
            intact.append(_read(path))
        except checksums.DamagedError as error:
            damaged[path] = str(error)
    return intact, damaged


def _paths(workdir: Path) -> list[Path]:
    return sorted((workdir / FOLDER).glob("[!.]*.csv"))


def _read(path: Path) -> SideTable:
    json_path = path.with_suffix(".json")
    try:
        description = checksums.read_json(json_path)
    except FileNotFoundError:
        raise checksums.damaged(json_path, "no such file") from None
    columns = schema.columns_of(json_path, description)
    about, records = description.get("about"), description.get("records")
    if not (isinstance(about, dict) and isinstance(records, dict)):
        raise checksums.damaged(json_path, "expected what it is about, and records by run")
    rows = {
        run: _values(columns, cells)
        for run, *cells in _rows(path, ("run_id", *columns), len(columns))
    }
    tested = _predictions(path.with_suffix(".npz"), description.get(_PREDICTIONS))
    blocks, block_columns = _blocks(path, json_path, description.get(OF_BLOCKS))
    return SideTable(path.stem, columns, rows, about, records, tested, blocks, block_columns)


def _rows(path: Path, head: Sequence[str], numbers: int) -> list[list[str]]:
    """Read the rows of a table below its head, whose last cells are numbers or empty.

    Raises:
      DamagedError: it is another table.
    """
    first, *rows = list(csv.reader(io.StringIO(checksums.read_text(path)))) or [[]]
    if first != [*head]:
        raise checksums.damaged(path, f"expected the columns {', '.join(head)}")
    for row in rows:
        if len(row) != len(head) or not all(map(_is_number, row[len(row) - numbers :])):
            raise checksums.damaged(path, "expected a run id and numbers in each row")
    return rows


def _is_number(cell: str) -> bool:
    try:
        return not cell or math.isfinite(float(cell))
    except ValueError:
        return False


def _values(columns: Iterable[str], cells: Iterable[str]) -> dict[str, float]:
    return {name: float(cell) for name, cell in zip(columns, cells, strict=True) if cell}


def _blocks(
    side_table: Path, json_path: Path, described: Any
) -> tuple[Mapping[str, Sequence[BlockRow]], Mapping[str, Column]]:
    """Return the measures of blocks, by run, and their columns; none if nothing describes them."""
    if described is None:
        return {}, {}
    columns = schema.columns_of(json_path, {"columns": described})
    path = side_table.parents[1] / OF_BLOCKS / side_table.name
    blocks: dict[str, list[BlockRow]] = {}
    try:
        rows = _rows(path, ("run_id", *BLOCK, *columns), len(columns))
    except FileNotFoundError:
        raise checksums.damaged(path, "no such file") from None
    for run, number, name, *cells in rows:
        of_run = blocks.setdefault(run, [])
        of_run.append(BlockRow(name, _values(columns, cells)))
        if number != str(len(of_run)):
            raise checksums.damaged(path, "expected the blocks of each run in order, from 1")
    return blocks, columns


def _predictions(path: Path, expected: Any) -> Mapping[str, Predictions]:
    """Return the predictions that belong to a side table; {} if there are none or others."""
    try:
        is_whole = expected is not None and checksums.sum_of(path.read_bytes()) == expected
    except OSError:
        is_whole = False
    return predictions.read_runs(path) if is_whole else {}
