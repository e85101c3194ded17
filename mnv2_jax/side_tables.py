"""Side tables: measures of finished runs, taken after their training.

`evaluations/NAME.csv` has a row per run and a column `NAME/MEASURE` per measure;
`evaluations/NAME.json` describes the columns and how they were measured. Where accuracy or loss
are means over images, `evaluations/NAME.npz` has the predictions for each of them.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mnv2_jax import atomic, checksums, predictions, schema
from mnv2_jax.predictions import Predictions
from mnv2_jax.schema import Column

FOLDER = "evaluations"

_PREDICTIONS = "predictions"
"""The entry of the description that has the checksum of the file of predictions."""


class SideTable(NamedTuple):
    """A side table.

    Attributes:
      name: of the file; letters, digits and any of "_-.".
      columns: its measures, by `NAME/MEASURE`.
      rows: by run id the values of the columns that the run has.
      about: how they were measured, as JSON values.
      records: by run id a hash of the record that was measured; see `record_of`.
      predictions: by run id those for each image, where they are known.
    """

    name: str
    columns: Mapping[str, Column]
    rows: Mapping[str, Mapping[str, float]]
    about: Mapping[str, Any]
    records: Mapping[str, str]
    predictions: Mapping[str, Predictions] = MappingProxyType({})


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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run_id", *table.columns])
    for run, values in table.rows.items():
        cells = [values.get(name) for name in table.columns]
        writer.writerow([run, *("" if cell is None else f"{cell:.9g}" for cell in cells)])
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
    checksums.write_json(path.with_suffix(".json"), described, indent=2)
    checksums.write_text(path, text.getvalue())
    return path


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
    lines = list(csv.reader(io.StringIO(checksums.read_text(path))))
    json_path = path.with_suffix(".json")
    try:
        description = checksums.read_json(json_path)
    except FileNotFoundError:
        raise checksums.damaged(json_path, "no such file") from None
    columns = schema.columns_of(json_path, description)
    about, records = description.get("about"), description.get("records")
    if not (isinstance(about, dict) and isinstance(records, dict)):
        raise checksums.damaged(json_path, "expected what it is about, and records by run")
    head = ["run_id", *columns]
    if not lines or lines[0] != head:
        raise checksums.damaged(path, f"expected the columns {', '.join(head)}")
    try:
        rows = {
            run: {name: float(cell) for name, cell in zip(columns, cells, strict=True) if cell}
            for run, *cells in lines[1:]
        }
    except ValueError:
        raise checksums.damaged(path, "expected a run id and numbers in each row") from None
    tested = _predictions(path.with_suffix(".npz"), description.get(_PREDICTIONS))
    return SideTable(path.stem, columns, rows, about, records, tested)


def _predictions(path: Path, expected: Any) -> Mapping[str, Predictions]:
    """Return the predictions that belong to a side table; {} if there are none or others."""
    try:
        is_whole = expected is not None and checksums.sum_of(path.read_bytes()) == expected
    except OSError:
        is_whole = False
    return predictions.read_runs(path) if is_whole else {}
