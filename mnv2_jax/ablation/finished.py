"""Finished runs of a grid: which they are, and that they are what would be trained now."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mnv2_jax import arch, schema
from mnv2_jax.ablation import records
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.train import processes


def remaining(workdir: Path, cohorts: Sequence[Cohort]) -> list[Cohort]:
    """Return the cohorts that still have runs to train, with those runs alone.

    Processes that train together get the same, by what the primary one finds.
    """
    found = [[records.read(workdir, run.id) is None for run in cohort.runs] for cohort in cohorts]
    todo = iter(processes.from_primary(np.array([open_ for part in found for open_ in part])))
    left = [_parted(cohort, todo) for cohort in cohorts]
    return [cohort for cohort in left if cohort.runs]


def _parted(cohort: Cohort, todo: Iterator[bool]) -> Cohort:
    """Return a cohort with those of its runs that are to do, the others noted as finished."""
    left: list[Run] = []
    done = [*cohort.finished]
    for run in cohort.runs:
        (left if next(todo) else done).append(run)
    return dataclasses.replace(cohort, runs=tuple(left), finished=tuple(done))


def note_failure(workdir: Path, cohort: Cohort, error: str) -> int:
    """Note an error with the runs of a cohort that are not finished; return their number."""
    failed = [run for part in remaining(workdir, [cohort]) for run in part.runs]
    for run in failed:
        records.write_failure(workdir, run, cohort, error)
    return len(failed)


def check_same(workdir: Path, cohorts: Sequence[Cohort]) -> None:
    """Check that the runs found finished are those that would be trained now.

    Raises:
      ValueError: a block computes something else than when runs of it were trained, or the data
        set, or a user's file with an optimizer or a metric, holds something else.
    """
    for cohort in cohorts:
        environments = [records.read_environment(workdir, run.id) for run in cohort.runs]
        changed = sum(
            by_other_code(environment, cohort.network_fingerprint) for environment in environments
        )
        if changed:
            model = cohort.runs[0].config.model
            of = f"block {model.block!r}"
            if model.projection not in arch.CLIPS:
                of += f" or projection {model.projection!r}"
            raise ValueError(
                f"workdir={workdir}: {changed} runs there ({cohort}) were trained by other code "
                f"of {of}; expected another workdir, or that code"
            )
        for name, now in cohort.user_files.items():
            before = (environment.get("user_files", {}) for environment in environments)
            changed = sum(files.get(name, now) != now for files in before)
            if changed:
                raise ValueError(
                    f"workdir={workdir}: {changed} runs there ({cohort}) were trained when the "
                    f"file of {name} held something else; expected another workdir, or that file"
                )
        now = cohort.dataset.fingerprint
        changed = sum(environment.get("data", now) != now for environment in environments)
        if changed:
            raise ValueError(
                f"workdir={workdir}: {changed} runs there ({cohort}) were trained on other "
                f"images, when {cohort.dataset.name!r} held something else, or its photographs "
                f"were not turned as EXIF says; expected another workdir, or those images"
            )


def unmeasured(workdir: Path, cohorts: Sequence[Cohort]) -> list[str]:
    """Say which metrics that configs name finished runs lack, a line for each metric.

    Such runs are not trained again: what is measured is no part of what a run is.
    """
    lacking: collections.Counter[str] = collections.Counter()
    for cohort in cohorts:
        wanted = records.measured_of(cohort.runs)
        for run in cohort.runs:
            row = records.read(workdir, run.id, schema.RECORD[-1:]) or {}
            lacking.update(
                metric.name
                for metric in wanted
                if row.get("status") == "done" and metric.column("test") not in row
            )
    return [
        f"{count} finished runs were not measured by {name}: it stays empty there; "
        f"experiments.evaluate measures the networks that they keep"
        for name, count in lacking.items()
    ]


def by_other_code(environment: Mapping[str, Any], now: str) -> bool:
    """Return whether a finished run trained another network than the one that its config is now.

    What a network computes is written down by jax, so that records of another jax tell nothing.

    Args:
      environment: of its record.
      now: see `mnv2_jax.ablation.cohort.network_fingerprint`.
    """
    same_jax = environment.get("libraries", {}).get("jax") == jax.__version__
    return same_jax and environment.get("network", now) != now
