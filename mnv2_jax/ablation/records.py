"""Records of runs: a folder per run, which appears complete, and one table of all.

In the experiment's folder: `runs/ID/` for finished runs; `failures/ID.json` for failed runs, until
they are finished; `results.csv`. `mnv2_jax.schema` describes their content.
"""

import csv
import io
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnv2_jax import atomic, checksums, metrics, predictions, schema, values
from mnv2_jax.ablation import grid, ids
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.metrics import Metric
from mnv2_jax.nn import trained
from mnv2_jax.nn.trained import Trained
from mnv2_jax.predictions import Predictions
from mnv2_jax.schema import RECORD, SUMS

_FIELDS = {column.name: column.field for column in schema.KNOWN.values() if column.field}
"""The path of the config field that a column holds, by column."""

_OF_TRANSFERS = ("transfer.phase", "transfer.first", "transfer.norm", "transfer.images_per_class")
"""Fields that tables of transfers always have."""


def describe(run: Run, cohort: Cohort) -> dict[str, Any]:
    """Return the columns of a run that are known before it starts."""
    fields = grid.fields(run.config)
    return {
        "run_id": run.id,
        **{
            column: values.canonical(ids.identity(path, fields[path]))
            for column, path in _FIELDS.items()
        },
        "params": cohort.cost.params,
        "madds": cohort.cost.madds,
        "classes": cohort.dataset.classes,
        "bottlenecks": " ".join(str(block.out_channels) for block in cohort.program.spec.blocks),
    }


def other_axes(runs: Sequence[Run]) -> list[str]:
    """Return the paths of fields in which `runs` differ and that have no column in `schema.KNOWN`.

    For transfers, includes all of `_OF_TRANSFERS`.
    """
    values_by_path: dict[str, set[Any]] = {}
    for run in runs:
        for path, value in grid.fields(run.config).items():  # Phases have different sections.
            values_by_path.setdefault(path, set()).add(value)
    return [
        path
        for path in values_by_path
        # What a run starts from follows from its other fields.
        if path not in (*_FIELDS.values(), "transfer.start")
        and (path in _OF_TRANSFERS or len(values_by_path[path]) > 1)
        and not ids.is_observed(path)
    ]


def planned(cohorts: Sequence[Cohort]) -> list[dict[str, Any]]:
    """Return the rows of results.csv with the columns that are known before training."""
    others = other_axes([run for cohort in cohorts for run in cohort.runs])
    return [
        {**describe(run, cohort), **_fields(run, others)}
        for cohort in cohorts
        for run in cohort.runs
    ]


def _fields(run: Run, paths: Sequence[str]) -> dict[str, Any]:
    fields = grid.fields(run.config)
    return {path: values.canonical(fields.get(path)) for path in paths}


def columns(runs: Sequence[Run]) -> list[str]:
    """Return the columns of results.csv for `runs`."""
    measured = [column.name for column in schema.of_metrics(measured_of(runs))]
    return schema.in_order([*measured, *other_axes(runs)])


def measured_of(runs: Sequence[Run]) -> list[Metric]:
    """Return the metrics that the configs of `runs` name, each once.

    Raises:
      ValueError: a name is unknown.
    """
    named = dict.fromkeys(run.config.metrics for run in runs)
    return [
        metrics.find(name)
        for name in dict.fromkeys(name for text in named for name in metrics.names(text))
    ]


def write(
    workdir: Path,
    run: Run,
    row: Mapping[str, Any],
    epochs: Sequence[Mapping[str, Any]],
    environment: Mapping[str, Any],
    network: Trained | None = None,
    tested: Predictions | None = None,
) -> None:
    """Write the record of a run: config.json, metrics.jsonl, environment.json, result.json.

    Its folder appears complete, in one step. A damaged one is replaced.

    Args:
      workdir: the experiment's folder.
      run: the run.
      row: the run's row of results.csv.
      epochs: metrics per epoch.
      environment: host, versions and devices; see `mnv2_jax.train.environment`.
      network: the trained network, if it is kept.
      tested: its predictions for the test images, unless it diverged or these were left unread.
    """
    folder = workdir / "runs" / run.id
    if os.path.lexists(folder) and read(workdir, run.id) is None:
        atomic.remove(folder)
    texts = {
        "config.json": checksums.dumps(json.loads(grid.canonical_json(run.config)), indent=2),
        "metrics.jsonl": "".join(map(checksums.dumps, epochs)),
        "environment.json": checksums.dumps(environment, indent=2),
    }
    sums = {name: checksums.sum_of(text.encode()) for name, text in texts.items()}
    with atomic.folder(folder) as staging:
        for name, text in texts.items():
            atomic.write_text(staging / name, text)
        if network:
            trained.save(staging / schema.NETWORK, network)
        if tested:
            data = predictions.dumps(tested)
            atomic.write_bytes(staging / schema.PREDICTIONS, data)
            sums[schema.PREDICTIONS] = checksums.sum_of(data)
        checksums.write_json(staging / RECORD[-1], {**row, SUMS: sums}, indent=2)
    _failure_path(workdir, run.id).unlink(missing_ok=True)


def read(workdir: Path, run_id: str, files: Collection[str] = RECORD) -> dict[str, Any] | None:
    """Return the row of a finished run; None if there is no record or it is damaged."""
    try:
        return read_checked(workdir, run_id, files)
    except checksums.DamagedError:
        return None


def read_checked(
    workdir: Path, run_id: str, files: Collection[str] = RECORD
) -> dict[str, Any] | None:
    """Check the record of a run and return its row; None if there is no record.

    Raises:
      DamagedError: a file is not what was written, or of another run.
      OSError: a file cannot be read.
    """
    folder = workdir / "runs" / run_id
    if not os.path.lexists(folder):
        return None
    if not folder.is_dir():
        raise checksums.damaged(folder, "it is no folder")
    data = {name: _bytes(folder / name) for name in files}
    path = folder / RECORD[-1]
    row = checksums.read_json(path, later=SUMS)
    sums = row.pop(SUMS, None)
    _check_row(path, run_id, row)
    if sums is None:  # Of an earlier version.
        _check_unsealed(folder, row, data)
        return row
    if not isinstance(sums, dict):  # Another program wrote it, with a valid checksum.
        raise checksums.damaged(path, f"{SUMS} {sums!r}; expected checksums by file")
    for name, content in data.items():
        if name != RECORD[-1] and sums.get(name) != checksums.sum_of(content):
            raise checksums.damaged(folder / name, f"not the checksum in {RECORD[-1]}")
    return row


def _bytes(path: Path) -> bytes:
    """Read a file that a record must have."""
    try:
        return checksums.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        raise checksums.damaged(path, "no such file") from None


def _check_row(path: Path, run_id: str, row: Mapping[str, Any]) -> None:
    """Check the types and ranges of the columns that a row has.

    Raises:
      DamagedError: a value is wrong; the message names its column.
    """
    if row.get("run_id", run_id) != run_id:
        raise checksums.damaged(path, f"of run {row['run_id']!r}")
    if row.get("status") not in schema.FINISHED:
        raise checksums.damaged(path, f"status {row.get('status')!r}; expected done or diverged")
    for name, column in schema.KNOWN.items():
        value: Any = row.get(name)
        if value is None:
            continue
        kind: Any
        kind, expected = (str, "a text") if column.type == "text" else ((int, float), "a number")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise checksums.damaged(path, f"{name} {value!r}; expected {expected}")
        if column.unit == "%" and not 0 <= value <= 1:
            raise checksums.damaged(path, f"{name} {value!r}; expected 0 to 1")


def _check_unsealed(folder: Path, row: Mapping[str, Any], data: Mapping[str, bytes]) -> None:
    """Check a record of an earlier version, which has no checksums.

    Raises:
      DamagedError: a file has no JSON objects, the config is of another run, or a file is a link,
        whose target a merge would copy.
    """
    for name, content in data.items():
        if (folder / name).is_symlink():
            raise checksums.damaged(folder / name, "a link; expected a regular file")
        lines = content.splitlines() if name.endswith(".jsonl") else [content]
        parsed = [checksums.parse(line, folder / name) for line in lines]
        if name == "config.json":
            fields = grid.fields(parsed[0])
            for column, path in _FIELDS.items():
                ours, theirs = row.get(column), values.canonical(fields.get(path))
                if None not in (ours, theirs) and ours != theirs:
                    raise checksums.damaged(folder / name, f"{path} {theirs!r}, not {ours!r}")


def read_environment(workdir: Path, run_id: str) -> dict[str, Any]:
    """Return environment.json of a run's record; {} if it is missing or damaged."""
    return checksums.read_if_there(workdir / "runs" / run_id / "environment.json")


def write_failure(workdir: Path, run: Run, cohort: Cohort, error: str) -> None:
    """Record the error of a run, which is tried again the next time."""
    row = {**describe(run, cohort), "status": "failed", "error": error}
    checksums.write_json(_failure_path(workdir, run.id), row, indent=2)


def read_failure(workdir: Path, run_id: str) -> dict[str, Any] | None:
    """Return the row of a failed run; None if it is missing or damaged."""
    try:
        row = checksums.read_json(_failure_path(workdir, run_id))
    except (FileNotFoundError, NotADirectoryError, checksums.DamagedError):
        return None
    return row if isinstance(row.get("error"), str) else None


def _failure_path(workdir: Path, run_id: str) -> Path:
    return workdir / "failures" / f"{run_id}.json"


def rows(workdir: Path, cohorts: Sequence[Cohort]) -> list[dict[str, Any]]:
    """Return the rows of finished and failed runs, in the order of the grid."""
    runs = sorted((run for cohort in cohorts for run in cohort.runs), key=lambda run: run.place)
    axes = other_axes(runs)
    return [
        {**row, **_fields(run, axes)}
        for run in runs
        if (row := read(workdir, run.id, RECORD[-1:]) or read_failure(workdir, run.id))
    ]


def write_table(
    workdir: Path, rows: Sequence[Mapping[str, Any]], measured: Sequence[Metric] = ()
) -> None:
    """Write `results.csv`, one row per run, and `columns.json` if there are columns to describe."""
    names = schema.in_order(name for row in rows for name in row)
    _describe_others(workdir, names, measured)
    checksums.write_text(workdir / schema.RESULTS, table_text(rows))


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of `results.csv`."""
    text = io.StringIO()
    names = schema.in_order(name for row in rows for name in row)
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _describe_others(workdir: Path, names: Sequence[str], measured: Sequence[Metric]) -> None:
    """Write `columns.json` for columns that are neither in `schema` nor paths of fields."""
    others = [name for name in names if name not in schema.KNOWN and "." not in name]
    try:
        before = schema.read_columns(workdir) if others else {}
    except checksums.DamagedError:
        before = {}
    known = {**before, **{column.name: column for column in schema.of_metrics(measured)}}
    schema.write_columns(workdir, [schema.column(name, known) for name in others])


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.9g}"
    return "" if value is None else value
