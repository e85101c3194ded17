"""Output of `--dry_run`: the runs of an experiment and their cost."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from mnv2_jax.ablation import estimates, grid, phases
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.api.planning import Planned
from mnv2_jax.terminal import Console, size
from mnv2_jax.values import text


def show(console: Console, planned: Planned, cohorts: Sequence[Cohort]) -> None:
    """Print cohorts, lanes, parameters, multiply-adds, axes, estimated time and disk.

    Args:
      console: where to print.
      planned: the experiment.
      cohorts: its cohorts that would be trained.
    """
    table = Table(box=None)
    table.add_column("cohort")
    for name in ("lanes", "parameters", "multiply-adds", "steps", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    seconds = [estimates.seconds(cohort) for cohort in cohorts]
    for cohort, estimate in zip(cohorts, seconds, strict=True):
        table.add_row(
            str(cohort),
            f"{len(cohort.runs):,}",
            f"{cohort.cost.params:,}",
            f"{cohort.cost.madds:,}",
            f"{cohort.program.steps:,}",
            "?" if estimate is None else _duration(estimate),
        )
    console.print(table)
    runs = sum(len(cohort.runs) for cohort in cohorts)
    console.print(f"Runs: {runs:,}, cohorts: {len(cohorts):,}; nothing is trained")
    console.print(f"Axes: {_axes(cohorts)}", highlight=False)
    names = [claim.name for claim in planned.claims]
    console.print(f"Claims: {', '.join(names) or 'none'}", highlight=False)
    for line in planned.remarks:
        console.print(line)
    known = [estimate for estimate in seconds if estimate is not None]
    if cohorts and len(known) == len(cohorts):
        console.print(
            f"Time: about {_duration(sum(known))} on {estimates.here()}, as fast as such networks "
            f"trained here before, and a compilation per cohort"
        )
    else:
        console.print(f"Time: not known, since none of them has been trained on {estimates.here()}")
    console.print(f"Disk: about {size(estimates.disk(cohorts))}, checkpoints included")


def _axes(cohorts: Sequence[Cohort]) -> str:
    """Return the fields in which runs differ, with their values, except those that phases set."""
    fields = [grid.fields(run.config) for cohort in cohorts for run in cohort.runs]
    set_by_phase = {*phases.implied_by_phase(fields), "transfer.start"}
    values: dict[str, dict[Any, None]] = {}
    for settings in fields:
        for path, value in settings.items():
            values.setdefault(path, {})[value] = None
    varied = [
        f"{path} {_listed([*own])}"
        for path, own in values.items()
        if len(own) > 1 and path not in set_by_phase
    ]
    return "; ".join(varied) or "none"


def _listed(values: Sequence[Any]) -> str:
    are_integers = all(type(value) is int for value in values)
    if are_integers and len(values) > 3 and values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(text, values))


def _duration(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
