"""Side tables: what was measured of finished runs after their training, by run id.

`evaluations/NAME.csv` has a row per run and a column `NAME/MEASURE` for each measure;
`evaluations/NAME.json` says what the columns are, and what they were measured by.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnv2_jax import checksums, schema
from mnv2_jax.schema import Column

FOLDER = "evaluations"


class SideTable(NamedTuple):
    """A side table.

    Attributes:
      name: of the file; letters, digits and any of "_-.".
      columns: its measures, by name with the table's: `NAME/MEASURE`.
      rows: by run id the values of the columns that the run has.
      about: what they were measured by, as JSON values.
      records: by run id a hash of the record that it had then.
    """

    name: str
    columns: Mapping[str, Column]
    rows: Mapping[str, Mapping[str, float]]
    about: Mapping[str, Any]
    records: Mapping[str, str]


def record_of(workdir: Path, run: str) -> str:
    """Return a hash of the record of a run; "" where it is not there."""
    try:
        found = checksums.read_bytes(workdir / "runs" / run / schema.RECORD[-1])
    except OSError:
        return ""
    except checksums.DamagedError:  # A pipe, say, which would be waited for.
        return "damaged"
    return checksums.sum_of(found)


def is_of_side_table(column: str) -> bool:
    """Return whether a column is named as those of side tables are."""
    return "/" in column


def write(workdir: Path, table: SideTable) -> Path:
    """Write a side table; return the path of its rows.

    Raises:
      OSError: the folder cannot be written to.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run_id", *table.columns])
    for run, values in table.rows.items():
        cells = [values.get(name) for name in table.columns]
        writer.writerow([run, *("" if cell is None else f"{cell:.9g}" for cell in cells)])
    path = workdir / FOLDER / f"{table.name}.csv"
    described = {
        "columns": schema.described(table.columns.values()),
        "about": dict(table.about),
        "records": dict(table.records),
    }
    checksums.write_json(path.with_suffix(".json"), described, indent=2)
    checksums.write_text(path, text.getvalue())
    return path


def read_all(workdir: Path) -> list[SideTable]:
    """Read the side tables of a workdir, by name.

    Raises:
      DamagedError: one is not what was written.
    """
    return [_read(path) for path in _paths(workdir)]


def read_whole(workdir: Path) -> tuple[list[SideTable], dict[Path, str]]:
    """Read the side tables that are whole; of the others give what is wrong with each."""
    whole, damaged = [], {}
    for path in _paths(workdir):
        try:
            whole.append(_read(path))
        except checksums.DamagedError as error:
            damaged[path] = str(error)
    return whole, damaged


def _paths(workdir: Path) -> list[Path]:
    return sorted((workdir / FOLDER).glob("[!.]*.csv"))


def _read(path: Path) -> SideTable:
    lines = list(csv.reader(io.StringIO(checksums.read_text(path))))
    described = path.with_suffix(".json")
    try:
        found = checksums.read_json(described)
    except FileNotFoundError:
        raise checksums.damaged(described, "no such file") from None
    columns = schema.columns_of(described, found)
    about, of = found.get("about"), found.get("records")
    if not (isinstance(about, dict) and isinstance(of, dict)):
        raise checksums.damaged(described, "expected what it is about, and records by run")
    head = ["run_id", *columns]
    if not lines or lines[0] != head:
        raise checksums.damaged(path, f"expected the columns {', '.join(head)}")
    try:
        rows = {line[0]: _numbers(head, line) for line in lines[1:]}
    except (ValueError, IndexError):
        raise checksums.damaged(path, "expected a run id and numbers in each row") from None
    return SideTable(path.stem, columns, rows, about, of)


def _numbers(head: Sequence[str], line: Sequence[str]) -> dict[str, float]:
    cells = zip(head[1:], line[1:], strict=True)
    return {name: float(cell) for name, cell in cells if cell}
