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
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.ablation.grid import canonical_json

COLUMNS = (
    "run_id",
    "status",
    "dataset",
    "block",
    "projection",
    "shortcut",
    "expansion",
    "width",
    "seed",
    "epochs",
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
"""The columns of results.csv: accuracies as fractions of 1, seconds as the run's share of its
cohort's training time, what was not measured left empty."""

FINISHED = ("done", "diverged")
"""The statuses of runs that are not run again."""


def describe(run: Run, cohort: Cohort) -> dict[str, Any]:
    """The columns that are known before a run starts."""
    config = run.config
    return {
        "run_id": run.id,
        "dataset": config.data.name,
        "block": config.model.block,
        "projection": config.model.projection,
        "shortcut": config.model.shortcut,
        "expansion": config.model.expansion,
        "width": config.model.width,
        "seed": config.seed,
        "epochs": config.train.epochs,
        "params": cohort.cost.params,
        "madds": cohort.cost.madds,
    }


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
        config = json.loads(canonical_json(run.config))
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
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
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
