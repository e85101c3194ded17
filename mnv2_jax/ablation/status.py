"""Reads the state of an experiment from its folder."""

import collections
import math
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnv2_jax import checksums, schema
from mnv2_jax.ablation import heartbeat, plans, records

STATES = ("done", "diverged", "running", "failed", "waiting")
"""The states of runs. Failed runs are tried again the next time; waiting ones have not
begun, or were stopped."""


def read(workdir: Path, files: Collection[str] = schema.RECORD) -> dict[str, Any]:
    """Return the state of an experiment, as JSON values.

    Returns:
      `name` and `command` of the experiment; `all`, the number of runs by state; `cohorts`, the
      same by cohort, and under `means` the mean test metrics of its runs that are done, or the
      validation metrics where test images were left unread;
      `training`, the chunks in training; `errors`, each with its number of runs; `damaged`, a line
      for each damaged record, whose run is trained again the next time.

    Raises:
      ValueError: there is no experiment in the folder, or its plan is damaged.
    """
    plan = plans.read(workdir)
    if plan is None:
        raise ValueError(
            f"workdir={workdir}: there is no plan.json; expected a folder that "
            f"experiments.ablate or experiments.train has worked in"
        )
    beats = list(heartbeat.beats(workdir))
    running = {run for beat in beats if beat.alive() for run in beat.runs}
    # A task of a launcher plans one cohort alone, and so has a shorter label for it.
    labels = {run: cohort["label"] for cohort in plan["cohorts"] for run in cohort["runs"]}
    errors: collections.Counter[str] = collections.Counter()
    damaged: list[str] = []
    cohorts = []
    for cohort in plan["cohorts"]:
        states = dict.fromkeys(STATES, 0)
        done: list[Mapping[str, Any]] = []
        for run in cohort["runs"]:
            try:
                row = records.read_checked(workdir, run, files)
            except checksums.DamagedError as reason:
                row = None
                damaged.append(str(reason))
            state, error = _state(workdir, run, row, run in running)
            states[state] += 1
            done += [row] if row is not None and state == "done" else []
            errors.update([error] if error else [])
        cohorts.append({"label": cohort["label"], **states, "means": _means(done)})
    return {
        "name": plan["name"],
        "command": plan["command"],
        "all": {state: sum(cohort[state] for cohort in cohorts) for state in STATES},
        "cohorts": cohorts,
        "training": [
            {
                "cohort": next((labels[run] for run in beat.runs if run in labels), beat.cohort),
                "runs": len(beat.runs),
                **{"step": beat.step, "steps": beat.steps, "pid": beat.pid, "host": beat.host},
                "alive": beat.alive(),
                # Clocks of other hosts may be ahead.
                "seconds_ago": max(0.0, round(time.time() - beat.time, 1)),
            }
            for beat in beats
        ],
        "errors": [{"runs": count, "error": error} for error, count in errors.items()],
        "damaged": damaged,
    }


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean of each test metric over the rows that have it, else of validation ones."""
    tested = any(name.startswith("test_") for row in rows for name in row)
    split = "test_" if tested else "validation_"
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            is_measure = name.startswith(split) and schema.column(name).kind == "measure"
            if value is not None and is_measure:
                values.setdefault(name, []).append(value)
    return {name: math.fsum(numbers) / len(numbers) for name, numbers in values.items()}


def _state(
    workdir: Path, run: str, row: Mapping[str, Any] | None, running: bool
) -> tuple[str, str]:
    """Return the state of a run and, if it failed, the error."""
    if row is not None:
        return str(row["status"]), ""
    if running:
        return "running", ""
    failure = records.read_failure(workdir, run)
    return ("failed", str(failure["error"])) if failure else ("waiting", "")
