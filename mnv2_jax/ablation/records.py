"""What a run leaves behind: a folder per run, whole or absent, and one table of all."""

import csv
import io
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnv2_jax import atomic
from mnv2_jax.ablation import grid
from mnv2_jax.ablation.cohort import Cohort, Run

_FIELDS = {
    "dataset": "data.name",
    "block": "model.block",
    "projection": "model.projection",
    "shortcut": "model.shortcut",
    "expansion": "model.expansion",
    "width": "model.width",
    "seed": "seed",
    "epochs": "train.epochs",
}
"""The columns that hold fields of the config, by their paths."""

COLUMNS = (
    "run_id",
    "status",
    *_FIELDS,
    "params",
    "madds",
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "test_loss",
    "seconds",
    "lanes",
    "device",
    "error",
)
"""The columns that every results.csv has: accuracies as fractions of 1, seconds as the run's share
of its cohort's training time, what was not measured left empty. After them comes a column for each
other field in which the runs differ, named by its path, such as `train.learning_rate`."""

FINISHED = ("done", "diverged")
"""The statuses of runs that are not run again."""


def describe(run: Run, cohort: Cohort) -> dict[str, Any]:
    """The columns that are known before a run starts."""
    fields = grid.fields(run.config)
    return {
        "run_id": run.id,
        **{column: fields[path] for column, path in _FIELDS.items()},
        "params": cohort.cost.params,
        "madds": cohort.cost.madds,
    }


def other_axes(runs: Sequence[Run]) -> list[str]:
    """The paths of the fields in which `runs` differ and that have no column in `COLUMNS`."""
    configs = [grid.fields(run.config) for run in runs]
    return [
        path
        for path in configs[0]
        if path not in _FIELDS.values()
        and any(fields[path] != configs[0][path] for fields in configs)
    ]


def columns(runs: Sequence[Run]) -> list[str]:
    """The columns that results.csv has for `runs`."""
    return [*COLUMNS, *other_axes(runs)]


def write(
    workdir: Path,
    run: Run,
    row: Mapping[str, Any],
    epochs: Sequence[Mapping[str, Any]],
    environment: Mapping[str, Any],
) -> None:
    """Writes the record of a run: config.json, metrics.jsonl, environment.json, result.json.

    The folder appears under its name complete. One that cannot be read back is replaced.

    Args:
      workdir: the experiment's folder.
      run: the run.
      row: the run's row of results.csv.
      epochs: metrics per epoch.
      environment: where and with what it ran.
    """
    folder = workdir / "runs" / run.id
    if folder.exists() and read(workdir, run.id) is None:
        shutil.rmtree(folder)
    with atomic.folder(folder) as staging:
        config = json.loads(grid.canonical_json(run.config))
        atomic.write_text(staging / "config.json", _json(config, indent=2))
        lines = "".join(_json(epoch) for epoch in epochs)
        atomic.write_text(staging / "metrics.jsonl", lines)
        atomic.write_text(staging / "environment.json", _json(environment, indent=2))
        atomic.write_text(staging / "result.json", _json(row, indent=2))


def read(workdir: Path, run_id: str) -> dict[str, Any] | None:
    """The row of a finished run, or None where it is not finished or cannot be read."""
    try:
        row = json.loads((workdir / "runs" / run_id / "result.json").read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return row if row.get("status") in FINISHED else None


def write_table(workdir: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes `results.csv`, one row per run."""
    text = io.StringIO()
    names = dict.fromkeys((*COLUMNS, *(name for row in rows for name in row)))
    writer = csv.DictWriter(text, list(names), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    atomic.write_text(workdir / "results.csv", text.getvalue())


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.9g}"
    return "" if value is None else value


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(_finite(value), indent=indent, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that is none becomes null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
