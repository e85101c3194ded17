"""Runs a grid: cohort by cohort, skipping what is finished, recording each cohort as it ends."""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import jax

from mnv2_jax.ablation import grid, records
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.data.sources import Dataset
from mnv2_jax.train import runlog
from mnv2_jax.train.loop import CohortTrainer, LaneResult


class Progress(Protocol):
    """What a sweep tells while it works."""

    def cohort_started(self, number: int, of: int, cohort: Cohort) -> None:
        """A cohort is next; its programs are being compiled, if they are not ready."""

    def cohort_compiled(self, cohort: Cohort) -> None:
        """A cohort's programs are ready, and its training begins."""

    def epoch_ended(self, cohort: Cohort, epoch: int) -> None:
        """All lanes of a cohort have finished an epoch, counted from 1."""

    def cohort_failed(self, cohort: Cohort, error: str) -> None:
        """A cohort ended with an error; the sweep goes on."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a sweep came to.

    Attributes:
      rows: one row of results.csv per run.
      trained: runs trained now, not found finished.
      failed: runs whose cohort ended with an error.
    """

    rows: list[dict[str, Any]]
    trained: int
    failed: int


def remaining(workdir: Path, cohorts: Sequence[Cohort]) -> list[Cohort]:
    """The cohorts that still have runs to train, with those runs alone."""
    unfinished = [
        dataclasses.replace(
            cohort,
            runs=tuple(run for run in cohort.runs if records.read(workdir, run.id) is None),
        )
        for cohort in cohorts
    ]
    return [cohort for cohort in unfinished if cohort.runs]


def check_code(workdir: Path, cohorts: Sequence[Cohort]) -> None:
    """Checks that the runs found finished are those that the code would train now.

    Raises:
      ValueError: a block computes something else than when runs of it were trained.
    """
    for cohort in cohorts:
        changed = sum(records.made_by_other_code(workdir, run, cohort) for run in cohort.runs)
        if changed:
            block = cohort.runs[0].config.model.block
            raise ValueError(
                f"--workdir={workdir}: {changed} runs there ({cohort}) were trained by other code "
                f"of block {block!r}; expected another --workdir, or that code"
            )


def sweep(
    workdir: Path, cohorts: Sequence[Cohort], dataset: Dataset, command: str, progress: Progress
) -> Outcome:
    """Trains every run that is not finished, and writes `results.csv`.

    While a cohort trains, the next ones compile: compilation leaves cores idle, which training
    takes up. A cohort that fails does not stop the others; its runs are tried again next time.

    Args:
      workdir: the experiment's folder; see `mnv2_jax.ablation.records`.
      cohorts: the whole grid.
      dataset: what they train on.
      command: the command line, for the records.
      progress: is told what happens.
    """
    todo = remaining(workdir, cohorts)
    errors: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=1) as compiler:
        compiling = collections.deque(compiler.submit(_compile, cohort, dataset) for cohort in todo)
        try:
            for number, cohort in enumerate(todo, start=1):
                progress.cohort_started(number, len(todo), cohort)
                try:
                    trainer = compiling.popleft().result()
                    progress.cohort_compiled(cohort)
                    results = trainer.run(functools.partial(progress.epoch_ended, cohort))
                except _COHORT_ERRORS as error:
                    message = " ".join(str(error).split()) or type(error).__name__
                    progress.cohort_failed(cohort, message)
                    errors |= dict.fromkeys((run.id for run in cohort.runs), message)
                else:
                    environment = {
                        **runlog.environment(command),
                        "network": cohort.network,
                        "lanes": len(cohort.runs),
                    }
                    for run, result in zip(cohort.runs, results, strict=True):
                        row = _row(cohort, run, result, trainer)
                        records.write(workdir, run, row, result.curve, environment)
                records.write_table(workdir, _rows(workdir, cohorts, errors))
        finally:
            compiler.shutdown(wait=False, cancel_futures=True)
    rows = _rows(workdir, cohorts, errors)
    records.write_table(workdir, rows)
    return Outcome(rows, trained=sum(len(cohort.runs) for cohort in todo), failed=len(errors))


# What XLA and NumPy raise when a program does not compile or does not fit. Anything else is a
# fault of this code, and ends the sweep.
_COHORT_ERRORS = (jax.errors.JaxRuntimeError, MemoryError)


def _compile(cohort: Cohort, dataset: Dataset) -> CohortTrainer:
    return CohortTrainer(cohort.program, [run.values for run in cohort.runs], dataset)


def _row(cohort: Cohort, run: Run, result: LaneResult, trainer: CohortTrainer) -> dict[str, Any]:
    measured = dataclasses.asdict(result)
    return {
        **records.describe(run, cohort),
        "lanes": len(cohort.runs),
        "status": "diverged" if measured.pop("diverged") else "done",
        "device": runlog.device_name(trainer.lanes.devices),
        **{name: value for name, value in measured.items() if name in records.COLUMNS},
    }


def _rows(
    workdir: Path, cohorts: Sequence[Cohort], errors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The rows of finished and failed runs, in the order of the grid."""
    axes = records.other_axes([run for cohort in cohorts for run in cohort.runs])
    rows = []
    for cohort in cohorts:
        for run in cohort.runs:
            row = records.read(workdir, run.id)
            if row is None and run.id in errors:
                row = {**records.describe(run, cohort), "status": "failed", "error": errors[run.id]}
            if row is not None:
                fields = grid.fields(run.config)
                rows.append({**row, **{path: fields[path] for path in axes}})
    return rows
