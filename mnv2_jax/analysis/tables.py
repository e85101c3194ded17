"""Readers of a sweep's records: the table of runs, and each run's curve, config and environment."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

from mnv2_jax import checksums, schema, side_tables, values
from mnv2_jax.analysis.tested import TestedImages
from mnv2_jax.schema import Column
from mnv2_jax.side_tables import SideTable

_DESCRIBED = "described"
"""The attribute of a table that holds the columns that columns.json describes."""

_TESTED = "tested"
"""The attribute of a table that reads predictions of its runs."""


def read_results(workdir: Path) -> pd.DataFrame:
    """Read `workdir/results.csv`, one row per run, with the columns of side tables.

    Text columns stay text: a run id such as `12e45678` is not a number, and the shortcut `none` is
    a value. Empty cells of numbers and of truth values are NaN: measurements of a run that did not
    finish, or a section that a run of a transfer does not have. Columns that an earlier version
    lacks are added without values.

    Raises:
      ValueError: the file is missing, empty or damaged, lacks a required column, has one that
          nothing describes, text where a number belongs, or an unknown status; or a side table is
          damaged.
    """
    path = workdir / schema.RESULTS
    if not path.is_file():
        raise ValueError(
            f"workdir {workdir} holds no results.csv; name a folder that a sweep wrote"
        )
    try:
        text = checksums.read_text(path)
    except checksums.DamagedError as error:
        raise ValueError(f"{error}; the experiment's command writes it anew") from None
    return parsed(workdir, text)


def parsed(workdir: Path, text: str) -> pd.DataFrame:
    """Return the table of a text as results.csv has it; see `read_results`.

    Raises:
      ValueError: see `read_results`.
    """
    path = workdir / schema.RESULTS
    try:
        described = schema.read_columns(workdir)
    except checksums.DamagedError as error:
        raise ValueError(f"{error}; the experiment's command writes it anew") from None
    columns = {**described, **schema.KNOWN}
    numbers = [name for name, column in columns.items() if column.type != "text"]
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            dtype={name: str for name in schema.KNOWN if name not in numbers},
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in numbers},
        )
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty; its first line must name the columns") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise ValueError(f"{path}: {error}; expected a table with commas") from None
    _check_columns(path, frame, described)
    frame = _with_missing(frame)
    try:
        tables = side_tables.read_all(workdir)
    except checksums.DamagedError as error:
        raise ValueError(f"{error}; experiments.evaluate writes it anew") from None
    for table in tables:
        frame = _joined(path, frame, table)
        described |= table.columns
    frame.attrs[_DESCRIBED] = _Described(described)
    of_tables = {table.name: table.predictions for table in tables}
    frame.attrs[_TESTED] = TestedImages(workdir, of_tables)
    for name in (name for name in numbers if name in frame):
        try:
            frame[name] = pd.to_numeric(frame[name])
        except ValueError as error:
            raise ValueError(f"{path}, column {name}: {error}; must be numbers") from None
    unknown = sorted(set(frame["status"]) - set(schema.STATUSES))
    if unknown:
        raise ValueError(f"{path}, column status: {unknown}; must be one of {schema.STATUSES}")
    others = [name for name in design_axes(frame) if name not in schema.KNOWN]
    frame = frame.assign(**{name: _without_empty(frame[name]) for name in others})
    fractions = [name for name in design_axes(frame) if is_float_dtype(frame[name])]
    return frame.assign(**{name: frame[name].map(values.canonical) for name in fractions})


def _joined(path: Path, frame: pd.DataFrame, table: SideTable) -> pd.DataFrame:
    """Return `frame` with a side table's columns, NaN for runs trained anew since.

    Raises:
      ValueError: it already has such a column.
    """
    twice = [name for name in table.columns if name in frame]
    if twice:
        raise ValueError(f"{path}: {twice} are in the side table {table.name} too; expected one")

    def row_of(run: str) -> Mapping[str, float]:
        unchanged = side_tables.is_current(path.parent, table, run)
        return table.rows.get(run, {}) if unchanged else {}

    rows = [row_of(run) for run in frame["run_id"]]
    columns = {name: [row.get(name, np.nan) for row in rows] for name in table.columns}
    return frame.assign(**columns)


def _check_columns(path: Path, frame: pd.DataFrame, described: Mapping[str, Column]) -> None:
    """Check that `frame` has the required columns, and no unknown ones.

    Raises:
      ValueError: it lacks one, or has one that nothing describes.
    """
    required = [name for name, column in schema.KNOWN.items() if column.required]
    missing = [name for name in required if name not in frame]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; has {list(frame.columns)}")
    known = {*schema.KNOWN, *described}
    others = [name for name in frame if name not in known and "." not in name]
    fields = _fields_of_configs(path.parent, frame) if others else set()
    for name in others:
        if name not in fields:
            raise ValueError(
                f"{path}, column {name}: nothing says what it is; expected a column of this "
                f"version, a field of the runs' config.json, or a description in {schema.COLUMNS}"
            )


def _fields_of_configs(workdir: Path, frame: pd.DataFrame) -> set[str]:
    """Return the top-level fields of the first run's config, or of the next that has one."""
    for run_id in frame["run_id"]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return set(checksums.read_json(workdir / "runs" / run_id / "config.json"))
    return set()


def _with_missing(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with empty columns for those that results of an earlier version lack."""
    lacking = [schema.KNOWN[name] for name in schema.in_order(frame) if name not in frame]
    return frame.assign(**{c.name: "" if c.type == "text" else np.nan for c in lacking})


class _Described(dict[str, Column]):
    """Columns by name. Pandas deep-copies a table's attributes whenever it makes another."""

    def __deepcopy__(self, memo: Any) -> "_Described":
        return self


def describe(frame: pd.DataFrame, name: str) -> Column:
    """Return the description of a column of `frame`."""
    return schema.column(name, frame.attrs.get(_DESCRIBED))


def tested_images(frame: pd.DataFrame) -> TestedImages | None:
    """Return the reader of predictions of a table's runs; None for a table of another origin."""
    found: TestedImages | None = frame.attrs.get(_TESTED)
    return found


def is_metric(frame: pd.DataFrame, name: str) -> bool:
    """Return whether a column holds a metric of a split."""
    column = describe(frame, name)
    return column.kind == "measure" and not column.of_machine


def measures(frame: pd.DataFrame) -> list[Column]:
    """Return the measures of which any run of `frame` has a value, training time last."""
    present = [describe(frame, str(name)) for name in frame if frame[name].notna().any()]
    measured = [column for column in present if column.kind == "measure"]
    return sorted(measured, key=lambda column: column.of_machine)


def main_metric(frame: pd.DataFrame) -> str:
    """Return the accuracy on test images or, where runs left these unread, on validation images."""
    columns = ("test_accuracy", "validation_accuracy")
    there = (name for name in columns if name in frame and frame[name].notna().any())
    return next(there, columns[0])


def check_measure(frame: pd.DataFrame, metric: str) -> None:
    """Check that results have a measure.

    Raises:
      ValueError: they do not; the message begins with `metric`.
    """
    if metric not in frame or describe(frame, metric).kind != "measure":
        expected = ", ".join(column.name for column in measures(frame))
        raise ValueError(
            f"metric={metric}: no such measure in these results; expected one of {expected}"
        )


def count_ruined(frame: pd.DataFrame) -> int:
    """Return the number of runs that training ruined; see `mnv2_jax.analysis.caveats.on_ruined`."""
    # Planned runs have no outcomes.
    return int(frame["restored_epoch"].notna().sum()) if "restored_epoch" in frame else 0


def design_axes(frame: pd.DataFrame) -> list[str]:
    """Return the columns of `frame` that hold the configuration of a run, but for the seed.

    Two runs that agree in all of them and in the seed are the same experiment.
    """
    return [name for name in frame if describe(frame, name).kind == "axis"]


def column(frame: pd.DataFrame, field: str) -> str:
    """Return the column of `frame` that holds a field of the config, such as `model.projection`.

    A column's own name, and any other text, is returned as it is.
    """
    short = schema.named_by_path(field)
    return short if field not in frame and short in frame else field


def section(field: str) -> str:
    """Return the phase whose section holds a field, such as `extraction.train.epochs`, or ""."""
    first, dot, _ = field.partition(".")
    return first if dot and first in schema.SECTIONS else ""


def read_curves(workdir: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Read `runs/<run_id>/metrics.jsonl` of every run in `frame`.

    Returns:
      One row per run and epoch, from 1: run_id, the columns of `schema.CURVES`, and other metrics,
      as they are stored; null is NaN. A run without a curve, such as one that failed before its
      first epoch, has no row. Older versions stored running numbers under the names of those in
      inference mode, which they did not measure: they are returned as `running_*`.

    Raises:
      DamagedError: a line is no JSON object of numbers.
    """
    rows = [
        {"run_id": run_id, **_renamed(row)}
        for run_id in frame["run_id"]
        for row in _json_lines(workdir / "runs" / run_id / "metrics.jsonl")
    ]
    others = dict.fromkeys(name for row in rows for name in row if name != "run_id")
    names = list(dict.fromkeys([*schema.CURVES, *others]))
    curves = pd.DataFrame(rows, columns=["run_id", *names])
    return curves.astype(dict.fromkeys(names, float)).astype({"run_id": str})


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a line of metrics.jsonl with the names that this version has."""
    if f"{schema.RUNNING}loss" in row:
        return row
    return {name.replace("train_", schema.RUNNING): value for name, value in row.items()}


def read_files(workdir: Path, frame: pd.DataFrame, name: str) -> dict[str, dict[str, Any]]:
    """Read a JSON file, such as `config.json`, of every run in `frame` that has it.

    Returns:
      By run id the file's entries, nested keys joined by a dot. Where no run has it, but the folder
      does, as of results without records of runs, that one's, by "".

    Raises:
      DamagedError: a file holds no JSON object.
    """
    files: dict[str, dict[str, Any]] = {}
    for run_id in frame["run_id"]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            content = checksums.read_json(workdir / "runs" / run_id / name)
            files[run_id] = dict(_flatten("", content))
    if not files:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            files[""] = dict(_flatten("", checksums.read_json(workdir / name)))
    return files


def distinct_values(files: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the distinct values of each entry of `read_files` as text, in order of first use."""
    values: dict[str, dict[str, None]] = {}
    for entries in files.values():
        for key, value in entries.items():
            values.setdefault(key, {})[as_text(value)] = None
    return {key: list(texts) for key, texts in values.items()}


def as_text(value: Any) -> str:
    """Return a text as it is, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _without_empty(cells: pd.Series) -> pd.Series:
    """Return a column with NaN for empty cells if all others are numbers, or truth values."""
    filled = cells[cells != ""]
    if len(filled) in (0, len(cells)):
        return cells
    truths = {"True": True, "False": False}
    if filled.isin(list(truths)).all():
        return cells.astype(object).map(truths)
    try:
        return pd.to_numeric(filled).reindex(cells.index)
    except ValueError:
        return cells


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = checksums.read_bytes(path).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return
    for number, line in enumerate(lines, start=1):
        row = checksums.parse(line, f"{path}, line {number}")
        if not all(value is None or isinstance(value, (int, float)) for value in row.values()):
            raise checksums.damaged(f"{path}, line {number}", "expected numbers")
        yield row


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield prefix, value
