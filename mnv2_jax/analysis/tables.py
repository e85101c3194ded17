"""Reads what a sweep recorded: one table of runs, and for each run its curve and environment."""

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
from mnv2_jax.schema import Column
from mnv2_jax.side_tables import SideTable

_DESCRIBED = "described"
"""The attribute of a table that holds what columns.json says of its columns."""


def read_results(workdir: Path) -> pd.DataFrame:
    """Read `workdir/results.csv`, one row per run.

    Text columns stay text: a run id such as `12e45678` is not a number, and the shortcut
    `none` is a value. Measurements of a run that did not finish are NaN, and so are the empty
    cells of other columns of numbers and of truth values, such as those of a section that a run
    of a transfer does not have.

    Columns that results of an earlier version lack are there, without values. So are those of side
    tables, see `mnv2_jax.side_tables`.

    Raises:
      ValueError: the file is missing, empty or damaged, lacks a column that every one has, holds
          one that nothing says what it is, text where a number belongs, or an unknown status; or a
          side table is damaged.
    """
    path = workdir / schema.RESULTS
    if not path.is_file():
        raise ValueError(
            f"workdir {workdir} holds no results.csv; name a folder that a sweep wrote"
        )
    try:
        described = schema.read_columns(workdir)
        text = checksums.read_text(path)
    except checksums.DamagedError as error:
        raise ValueError(f"{error}; the experiment's command writes it anew") from None
    columns = {**described, **schema.KNOWN}
    texts = [name for name, column in columns.items() if column.type == "text"]
    numbers = [name for name, column in columns.items() if column.type != "text"]
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            dtype=dict.fromkeys((name for name in texts if name in schema.KNOWN), str),
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
    """Return the table with a side table's columns, NaN for runs whose records it does not have.

    Raises:
      ValueError: it has a column that is there already.
    """
    twice = [name for name in table.columns if name in frame]
    if twice:
        raise ValueError(f"{path}: {twice} are in the side table {table.name} too; expected one")
    # A run that was trained anew since has another network than the one that was measured.
    rows = [
        {}
        if side_tables.record_of(path.parent, run) not in ("", table.records.get(run))
        else table.rows.get(run, {})
        for run in frame["run_id"]
    ]
    columns = {name: [row.get(name, np.nan) for row in rows] for name in table.columns}
    return frame.assign(**columns)


def _check_columns(path: Path, frame: pd.DataFrame, described: Mapping[str, Column]) -> None:
    """Check that the required columns are there, and that it is known what each column is.

    Raises:
      ValueError: a column is missing or unknown.
    """
    missing = [one.name for one in schema.KNOWN.values() if one.required and one.name not in frame]
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
    """Return the fields outside of sections in the first config that is there."""
    for run_id in frame["run_id"]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return set(checksums.read_json(workdir / "runs" / run_id / "config.json"))
    return set()


def _with_missing(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the columns that results of an earlier version lack, without values."""
    present = schema.in_order(frame)
    lacking = [schema.KNOWN[name] for name in present if name not in frame]
    return frame.assign(**{one.name: "" if one.type == "text" else np.nan for one in lacking})


class _Described(dict[str, Column]):
    """The columns that columns.json describes; pandas copies it with every table that it makes."""

    def __deepcopy__(self, memo: Any) -> "_Described":
        return self


def describe(frame: pd.DataFrame, name: str) -> Column:
    """Return what a column of `frame` is: its kind, label, unit and how it is shown."""
    return schema.column(name, frame.attrs.get(_DESCRIBED))


def is_metric(frame: pd.DataFrame, name: str) -> bool:
    """Return whether a column holds a metric of a split."""
    column = describe(frame, name)
    return column.kind == "measure" and not column.of_machine


def measures(frame: pd.DataFrame) -> list[Column]:
    """Return the measures that any run of `frame` has a value of; training time comes last."""
    found = [describe(frame, str(name)) for name in frame if frame[name].notna().any()]
    measured = [column for column in found if column.kind == "measure"]
    return sorted(measured, key=lambda column: column.of_machine)


def check_measure(frame: pd.DataFrame, metric: str) -> None:
    """Check that results have a measure.

    Raises:
      ValueError: they do not; the message begins with `metric` and lists what there is.
    """
    if metric not in frame or describe(frame, metric).kind != "measure":
        there = ", ".join(column.name for column in measures(frame))
        raise ValueError(
            f"metric={metric}: no such measure in these results; expected one of {there}"
        )


def count_ruined(frame: pd.DataFrame) -> int:
    """Return the number of runs that training ruined; see `mnv2_jax.analysis.caveats.on_ruined`."""
    # Tables of runs that are planned have no outcomes.
    return int(frame["restored_epoch"].notna().sum()) if "restored_epoch" in frame else 0


def design_axes(frame: pd.DataFrame) -> list[str]:
    """Return the columns of `frame` that say what a run is, seed aside.

    Two runs that agree in all of them and in the seed are the same experiment.
    """
    return [name for name in frame if describe(frame, name).kind == "axis"]


def column(frame: pd.DataFrame, field: str) -> str:
    """Return the column of `frame` that holds a field of the config, such as `model.projection`.

    Columns go by their own names as well; what is neither is given back as it is.
    """
    short = schema.named_by_path(field)
    return short if field not in frame and short in frame else field


def section(field: str) -> str:
    """Return the phase whose section a field is in, such as `extraction.train.epochs`, or ""."""
    first, dot, _ = field.partition(".")
    return first if dot and first in schema.SECTIONS else ""


def read_curves(workdir: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Read `runs/<run_id>/metrics.jsonl` of every run in `frame`.

    Returns:
      One row per run and epoch: run_id, the columns of `schema.CURVES`, epochs from 1, and those
      of other metrics. What is stored as a fraction is one here; null is NaN. A run without a
      curve, such as one that failed before its first epoch, has no row.

    Raises:
      DamagedError: a line is no JSON object of numbers.
    """
    rows = [
        {"run_id": run_id, **row}
        for run_id in frame["run_id"]
        for row in _json_lines(workdir / "runs" / run_id / "metrics.jsonl")
    ]
    others = dict.fromkeys(name for row in rows for name in row if name != "run_id")
    names = list(dict.fromkeys([*schema.CURVES, *others]))
    curves = pd.DataFrame(rows, columns=["run_id", *names])
    return curves.astype(dict.fromkeys(names, float)).astype({"run_id": str})


def read_files(workdir: Path, frame: pd.DataFrame, name: str) -> dict[str, dict[str, Any]]:
    """Read a JSON file, such as `config.json`, of every run in `frame` that has it.

    Returns:
      By run id the file's entries, nested keys joined by a dot.

    Raises:
      DamagedError: a file holds no JSON object.
    """
    files: dict[str, dict[str, Any]] = {}
    for run_id in frame["run_id"]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = checksums.read_json(workdir / "runs" / run_id / name)
            files[run_id] = dict(_flatten("", found))
    return files


def distinct_values(files: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """For each entry of `read_files` the distinct values as text, in order of first use.

    One value means that all runs agree.
    """
    values: dict[str, list[str]] = {}
    for entries in files.values():
        for key, value in entries.items():
            text = value if isinstance(value, str) else json.dumps(value)
            seen = values.setdefault(key, [])
            if text not in seen:
                seen.append(text)
    return values


def _without_empty(cells: pd.Series) -> pd.Series:
    """Return a column with NaN for empty cells, if the others are numbers or truth values."""
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
