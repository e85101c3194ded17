"""What a run leaves behind: a folder per run, whole or absent, and one table of all.

Under the experiment's folder: `runs/ID/` of finished runs; `failures/ID.json` of runs that failed,
until they are finished; `plan.json`, what there is to train; `results.csv`.
"""

import csv
import io
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnv2_jax import atomic, values
from mnv2_jax.ablation import grid
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.nn import trained
from mnv2_jax.nn.trained import Trained

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
    "restored_epoch",
    "seconds",
    "lanes",
    "device",
    "error",
)
"""The columns that every results.csv has: accuracies as fractions of 1, seconds as the run's share
of its cohort's training time, what was not measured left empty; `restored_epoch` as in
`mnv2_jax.train.results.LaneResult`. After them comes a column for each
other field in which the runs differ, named by its path, such as `train.learning_rate`."""

_OF_TRANSFERS = ("transfer.phase", "transfer.first", "transfer.norm", "transfer.images_per_class")
"""The fields that say what a run of a transfer is."""

FINISHED = ("done", "diverged")
"""The statuses of runs that are not run again."""


def describe(run: Run, cohort: Cohort) -> dict[str, Any]:
    """The columns that are known before a run starts."""
    fields = grid.fields(run.config)
    return {
        "run_id": run.id,
        **{column: values.canonical(fields[path]) for column, path in _FIELDS.items()},
        "params": cohort.cost.params,
        "madds": cohort.cost.madds,
    }


def other_axes(runs: Sequence[Run]) -> list[str]:
    """The paths of the fields in which `runs` differ and that have no column in `COLUMNS`.

    Of transfers all of `_OF_TRANSFERS`, whether runs differ in them or not. A run may lack fields
    that others have, of phases that it does not come after.
    """
    found: dict[str, set[Any]] = {}
    for run in runs:
        for path, value in grid.fields(run.config).items():
            found.setdefault(path, set()).add(value)
    return [
        path
        for path in found
        # What a run starts from follows from its other fields.
        if path not in (*_FIELDS.values(), "transfer.start")
        and (path in _OF_TRANSFERS or len(found[path]) > 1)
    ]


def planned(cohorts: Sequence[Cohort]) -> list[dict[str, Any]]:
    """The rows of results.csv as far as they are known before anything trains."""
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
    """The columns that results.csv has for `runs`."""
    return [*COLUMNS, *other_axes(runs)]


def write(
    workdir: Path,
    run: Run,
    row: Mapping[str, Any],
    epochs: Sequence[Mapping[str, Any]],
    environment: Mapping[str, Any],
    network: Trained | None = None,
) -> None:
    """Writes the record of a run: config.json, metrics.jsonl, environment.json, result.json.

    The folder appears under its name complete. One that cannot be read back is replaced.

    Args:
      workdir: the experiment's folder.
      run: the run.
      row: the run's row of results.csv.
      epochs: metrics per epoch.
      environment: where and with what it ran.
      network: what was trained, to be kept in `mnv2_jax.nn.trained.FILE`.
    """
    folder = workdir / "runs" / run.id
    if folder.exists() and read(workdir, run.id) is None:
        shutil.rmtree(folder)
    failure = _failure_path(workdir, run.id)
    with atomic.folder(folder) as staging:
        config = json.loads(grid.canonical_json(run.config))
        atomic.write_text(staging / "config.json", _json(config, indent=2))
        lines = "".join(_json(epoch) for epoch in epochs)
        atomic.write_text(staging / "metrics.jsonl", lines)
        atomic.write_text(staging / "environment.json", _json(environment, indent=2))
        if network:
            trained.save(staging / trained.FILE, network)
        atomic.write_text(staging / "result.json", _json(row, indent=2))
    failure.unlink(missing_ok=True)


def read(workdir: Path, run_id: str) -> dict[str, Any] | None:
    """The row of a finished run, or None where it is not finished or cannot be read."""
    try:
        row = json.loads((workdir / "runs" / run_id / "result.json").read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return row if row.get("status") in FINISHED else None


def read_environment(workdir: Path, run_id: str) -> dict[str, Any]:
    """Where and with what a run was trained, as its record says; nothing if it does not."""
    try:
        found = json.loads((workdir / "runs" / run_id / "environment.json").read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def write_failure(workdir: Path, run: Run, cohort: Cohort, error: str) -> None:
    """Notes that a run failed, and why; it is tried again the next time."""
    row = {**describe(run, cohort), "status": "failed", "error": error}
    atomic.write_text(_failure_path(workdir, run.id), _json(row, indent=2))


def read_failure(workdir: Path, run_id: str) -> dict[str, Any] | None:
    """The row of a run that failed the last time, or None."""
    try:
        return dict(json.loads(_failure_path(workdir, run_id).read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _failure_path(workdir: Path, run_id: str) -> Path:
    return workdir / "failures" / f"{run_id}.json"


def write_plan(workdir: Path, name: str, command: str, cohorts: Sequence[Cohort]) -> None:
    """Writes `plan.json`: what there is to train, for those who look at the folder meanwhile."""
    plan = {
        "name": name,
        "command": command,
        "cohorts": [
            {"label": str(cohort), "runs": [run.id for run in cohort.runs]} for cohort in cohorts
        ],
    }
    keep_plan(workdir, plan)


def keep_plan(workdir: Path, plan: Mapping[str, Any]) -> None:
    """Writes a plan as `read_plan` gives it."""
    atomic.write_text(workdir / "plan.json", _json(plan))


def read_plan(workdir: Path) -> dict[str, Any] | None:
    """What `write_plan` wrote, or None where there is none.

    Raises:
      ValueError: it is damaged.
    """
    path = workdir / "plan.json"
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        cohorts = [{"label": one["label"], "runs": list(one["runs"])} for one in plan["cohorts"]]
        return {"name": plan["name"], "command": plan["command"], "cohorts": cohorts}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, LookupError, TypeError):
        raise ValueError(
            f"{path}: it is damaged; run the experiment's command again, which writes it anew"
        ) from None


def rows(workdir: Path, cohorts: Sequence[Cohort]) -> list[dict[str, Any]]:
    """The rows of finished and failed runs, in the order of the grid."""
    axes = other_axes([run for cohort in cohorts for run in cohort.runs])
    found = []
    for cohort in cohorts:
        for run in cohort.runs:
            row = read(workdir, run.id) or read_failure(workdir, run.id)
            if row is not None:
                found.append({**row, **_fields(run, axes)})
    return found


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
