"""Finds the finished runs of a grid, and checks that training would still give the same."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mnv2_jax import arch, schema
from mnv2_jax.ablation import records
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.train import processes


def remaining(workdir: Path, cohorts: Sequence[Cohort]) -> list[Cohort]:
    """Return the cohorts that have runs to train; their `finished` has the other runs.

    Processes that train together all use what the primary one finds.
    """
    runs = [run for cohort in cohorts for run in cohort.runs]
    lacking = np.array([records.read(workdir, run.id) is None for run in runs])
    lacking = processes.from_primary(lacking)
    todo = {run.id for run, lacks in zip(runs, lacking, strict=True) if lacks}
    remaining = []
    for cohort in cohorts:
        if left := tuple(run for run in cohort.runs if run.id in todo):
            done = tuple(run for run in cohort.runs if run.id not in todo)
            finished = (*cohort.finished, *done)
            remaining.append(dataclasses.replace(cohort, runs=left, finished=finished))
    return remaining


def note_failure(workdir: Path, cohort: Cohort, error: str) -> int:
    """Write an error to the records of a cohort's unfinished runs; return their number."""
    failed = [run for part in remaining(workdir, [cohort]) for run in part.runs]
    for run in failed:
        records.write_failure(workdir, run, cohort, error)
    return len(failed)


def check_same(workdir: Path, cohorts: Sequence[Cohort]) -> None:
    """Check that finished runs were trained by the present code, on the present data.

    Raises:
      ValueError: the code of a block, the data set, or a user's file with an optimizer or a metric
        has changed since.
    """
    for cohort in cohorts:
        found = (records.read_environment(workdir, run.id) for run in cohort.runs)
        # Without one there is no need of the fingerprint, for which the network is traced.
        environments = [environment for environment in found if environment]
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
    """Return a line for each metric of the configs that finished runs lack, and for the test split.

    They are not trained again: what is measured is not part of a run's identity.
    """
    lacking: collections.Counter[str] = collections.Counter()
    for cohort in cohorts:
        wanted = records.measured_of(cohort.runs)
        for run in cohort.runs:
            row = records.read(workdir, run.id, schema.RECORD[-1:]) or {}
            if row.get("status") != "done":
                continue
            tested = any(name.startswith("test_") for name in row)
            if cohort.evaluate_test and not tested:
                lacking["on test images, which config.evaluate_test=False left unread"] += 1
            split = "test" if tested else "validation"
            lacking.update(
                f"by {metric.name}" for metric in wanted if metric.column(split) not in row
            )
    return [
        f"{count} finished runs were not measured {what}: it stays empty there; "
        f"experiments.evaluate measures the networks that they keep"
        for what, count in lacking.items()
    ]


def by_other_code(environment: Mapping[str, Any], now: str) -> bool:
    """Return whether a run's network was of other code.

    Versions of jax write the same network differently: records of another one count as equal.
    """
    same_jax = environment.get("libraries", {}).get("jax") == jax.__version__
    return same_jax and environment.get("network", now) != now
