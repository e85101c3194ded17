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

from mnv2_jax import checksums, values

ACCURACIES = ("train_accuracy", "validation_accuracy", "test_accuracy")
STATUSES = ("done", "diverged", "failed")

PHASE = "transfer.phase"
"""The column of results.csv that says which phase of a transfer a run is."""

PRETRAINING = "pretraining"
"""The phase whose runs learn, and are tested on, other classes than those of the others."""

_SECTIONS = (PRETRAINING, "scratch", "extraction")

_TEXT = ("run_id", "status", "dataset", "block", "projection", "shortcut", "device")
_NUMBERS = (
    *("expansion", "width", "seed", "epochs", "params", "madds"),
    *(*ACCURACIES, "test_loss", "seconds", "lanes"),
)
_LATER = ("restored_epoch",)
"""Columns of numbers that results of earlier versions lack."""

_OUTCOMES = (
    *("run_id", "status", "seed", "params", "madds", *ACCURACIES, "test_loss", *_LATER),
    *("seconds", "lanes", "device", "error"),
)
_CURVES = (
    *("epoch", "train_loss", "train_accuracy"),
    *("validation_loss", "validation_accuracy", "learning_rate"),
)


def read_results(workdir: Path) -> pd.DataFrame:
    """Reads `workdir/results.csv`, one row per run.

    Text columns stay text: a run id such as `12e45678` is not a number, and the shortcut
    `none` is a value. Measurements of a run that did not finish are NaN, and so are the empty
    cells of other columns of numbers and of truth values, such as those of a section that a run
    of a transfer does not have.

    Raises:
      ValueError: the file is missing, empty or damaged, lacks a column, holds text where a number
          belongs, or holds an unknown status.
    """
    path = workdir / "results.csv"
    if not path.is_file():
        raise ValueError(
            f"workdir {workdir} holds no results.csv; name a folder that a sweep wrote"
        )
    try:
        frame = pd.read_csv(
            io.StringIO(checksums.read_text(path)),
            dtype=dict.fromkeys(_TEXT, str),
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in (*_NUMBERS, *_LATER)},
        )
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty; its first line must name the columns") from None
    except checksums.DamagedError as error:
        raise ValueError(f"{error}; the experiment's command writes it anew") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise ValueError(f"{path}: {error}; expected a table with commas") from None
    frame = frame.assign(**{name: np.nan for name in _LATER if name not in frame})
    missing = [name for name in (*_TEXT, *_NUMBERS) if name not in frame]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; has {list(frame.columns)}")
    for name in (*_NUMBERS, *_LATER):
        try:
            frame[name] = pd.to_numeric(frame[name])
        except ValueError as error:
            raise ValueError(f"{path}, column {name}: {error}; must be numbers") from None
    unknown = sorted(set(frame["status"]) - set(STATUSES))
    if unknown:
        raise ValueError(f"{path}, column status: {unknown}; must be one of {STATUSES}")
    others = [name for name in design_axes(frame) if name not in (*_TEXT, *_NUMBERS)]
    frame = frame.assign(**{name: _without_empty(frame[name]) for name in others})
    fractions = [name for name in design_axes(frame) if is_float_dtype(frame[name])]
    return frame.assign(**{name: frame[name].map(values.canonical) for name in fractions})


def count_ruined(frame: pd.DataFrame) -> int:
    """The number of runs that training ruined; see `mnv2_jax.analysis.notes.on_ruined`."""
    # Tables of runs that are planned have no outcomes.
    return int(frame["restored_epoch"].notna().sum()) if "restored_epoch" in frame else 0


def design_axes(frame: pd.DataFrame) -> list[str]:
    """The columns of `frame` that say what a run is, seed aside.

    Two runs that agree in all of them and in the seed are the same experiment.
    """
    return [name for name in frame if name not in _OUTCOMES]


def column(frame: pd.DataFrame, field: str) -> str:
    """The column of `frame` that holds a field of the config, such as `model.projection`.

    Columns go by their own names as well; what is neither is given back as it is.
    """
    if section(field):
        return field  # What a phase sets: `extraction.train.epochs` are not the epochs of a run.
    short = "dataset" if field == "data.name" else field.rpartition(".")[2]
    return short if field not in frame and short in frame else field


def section(field: str) -> str:
    """The phase whose section a field is in, such as `extraction.train.epochs`; else nothing."""
    first, dot, _ = field.partition(".")
    return first if dot and first in _SECTIONS else ""


def read_curves(workdir: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Reads `runs/<run_id>/metrics.jsonl` of every run in `frame`.

    Returns:
      One row per run and epoch: run_id, epoch (from 1), train_loss, train_accuracy,
      validation_loss, validation_accuracy, learning_rate. Accuracies are fractions, null is NaN.
      A run without a curve, such as one that failed before its first epoch, has no row.

    Raises:
      DamagedError: a line is no JSON object of numbers.
    """
    rows = [
        {"run_id": run_id, **row}
        for run_id in frame["run_id"]
        for row in _json_lines(workdir / "runs" / run_id / "metrics.jsonl")
    ]
    curves = pd.DataFrame(rows, columns=["run_id", *_CURVES])
    return curves.astype(dict.fromkeys(_CURVES, float)).astype({"run_id": str})


def read_files(workdir: Path, frame: pd.DataFrame, name: str) -> dict[str, dict[str, Any]]:
    """Reads a JSON file, such as `config.json`, of every run in `frame` that has it.

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
    """A column with NaN for its empty cells, if the others are all numbers or truth values."""
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
