"""Output of `--dry_run`: the runs of an experiment and their cost."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from mnv2_jax.ablation import estimates, grid, phases
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.analysis import reach
from mnv2_jax.analysis.claims import KINDS
from mnv2_jax.api.planning import Planned
from mnv2_jax.side_tables import is_of_side_table
from mnv2_jax.terminal import Console, size
from mnv2_jax.values import text

_UNKNOWN = "not known"

_MOST_NAMES = 20
"""The most names of classes that are printed."""


def show(
    console: Console,
    planned: Planned,
    cohorts: Sequence[Cohort],
    most: Sequence[Cohort],
    workdir: str,
    planning: float = 0.0,
) -> None:
    """Print cohorts, lanes, parameters, multiply-adds, axes, estimated time, disk and workdir.

    Args:
      console: where to print.
      planned: the experiment.
      cohorts: its cohorts that would be trained; with the least seeds, if they stop by themselves.
      most: the same with the most seeds.
      workdir: the folder that results would be written to.
      planning: the seconds that planning took.
    """
    for line in _table(cohorts):
        console.print(line)
    runs = sum(len(cohort.runs) for cohort in cohorts)
    console.print(f"Runs: {runs:,}, cohorts: {len(cohorts):,}; nothing is trained")
    console.print(f"Axes: {_axes(cohorts)}", highlight=False)
    for line in _classes(cohorts):
        console.print(line, highlight=False)
    names = [claim.name for claim in planned.claims]
    console.print(f"Claims: {', '.join(names) or 'none'}", highlight=False)
    for line in _reach(planned):
        console.print(line, highlight=False)
    for line in planned.remarks:
        console.print(line)
    console.print(f"Time: {_time(cohorts, planning)}", highlight=False)
    if planned.seeds:
        console.print(f"Time of all seeds: {_time(most, planning)}", highlight=False)
    console.print(f"Disk: about {size(estimates.disk(cohorts))}, checkpoints included")
    console.print(f"Results: {workdir}", highlight=False)


def _table(cohorts: Sequence[Cohort]) -> Iterator[Table | str]:
    """Return a row per cohort, and before it a line of what is equal in all rows."""
    columns = {
        "lanes": [f"{len(cohort.runs):,}" for cohort in cohorts],
        "parameters": [f"{cohort.cost.params:,}" for cohort in cohorts],
        "multiply-adds": [f"{cohort.cost.madds:,}" for cohort in cohorts],
        "steps": [f"{cohort.program.steps:,}" for cohort in cohorts],
        "training": [_or_unknown(estimates.seconds(cohort)) for cohort in cohorts],
    }
    labels = [str(cohort).split(", ", 1) for cohort in cohorts]
    equal = []
    if len(cohorts) > 1:
        if len({block for block, *_ in labels}) == 1 and all(len(parts) == 2 for parts in labels):
            equal = [f"block {labels[0][0]}"]
            labels = [parts[1:] for parts in labels]
        for name in [name for name, texts in columns.items() if len(set(texts)) == 1]:
            value = columns.pop(name)[0]
            if value != _UNKNOWN:
                equal.append(f"{name} {value}")
    if equal:
        yield f"Each cohort: {', '.join(equal)}"
    table = Table(box=None)
    table.add_column("cohort")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for number, parts in enumerate(labels):
        table.add_row(", ".join(parts), *(texts[number] for texts in columns.values()))
    yield table


def _time(cohorts: Sequence[Cohort], planning: float) -> str:
    """Return the estimated time, and what it consists of."""
    if not cohorts:
        return "none"
    found = estimates.estimate(cohorts, planning)
    count = len(cohorts)
    cached = f", {found.cached} of them kept from before" if found.cached else ""
    parts = {
        "planning": planning,
        f"{count} compilation{'s' if count > 1 else ''}{cached}:": found.compilation,
        "first images": found.images or None,
        "training": found.training,
        "report": found.report,
    }
    known = ", ".join(
        f"{name} {_duration(value)}" for name, value in parts.items() if value is not None
    )
    if found.low is not None and found.high is not None:
        return f"{_range(found.low, found.high)} on {estimates.here()}; {known}"
    presets = dict.fromkeys(str(cohort.runs[0].config.model.preset) for cohort in cohorts)
    what = "compilation" if found.training is not None else f"training of {', '.join(presets)}"
    return (
        f"not known on this machine ({estimates.here()}): {what} was never measured on it; {known}"
    )


def _reach(planned: Planned) -> Iterator[str]:
    """Return lines on what the seeds can decide of the project's own kinds of claims."""
    claims = sum(type(claim) in KINDS.values() for claim in planned.claims)
    if not claims:
        return
    overlap = max(map(_overlap, planned.cohorts), default=0.0)
    if plan := planned.seeds:
        for seeds in dict.fromkeys((plan.minimum, plan.budget)):
            yield f"Reach: {reach.line(seeds, claims, stops=True, overlap=overlap)}"
    else:
        seeds = len({run.config.seed for run in planned.runs.values()})
        yield f"Reach: {reach.line(seeds, claims, overlap=overlap)}"
    for claim in planned.claims:
        if is_of_side_table(claim.metric):
            table = claim.metric.partition("/")[0]
            yield f"Claim {claim.name}: experiments.evaluate writes {claim.metric} (--name={table})"


def _overlap(cohort: Cohort) -> float:
    """Return test images by training images, if each seed draws its own; else 0."""
    if cohort.runs[0].config.data.split != "per_seed":
        return 0.0
    return len(cohort.dataset.test) / cohort.dataset.training_images


def _classes(cohorts: Sequence[Cohort]) -> Iterator[str]:
    """Return the names of a transfer's classes, with the phases that have them."""
    found: dict[tuple[str, ...], dict[str, None]] = {}
    for cohort in cohorts:
        config = cohort.runs[0].config
        if "transfer" in config:
            phase = str(config.transfer.phase)
            found.setdefault(cohort.dataset.class_names, {})[phase] = None
    for names, of_phases in found.items():
        more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
        yield f"Classes of {', '.join(of_phases)}: {', '.join(names[:_MOST_NAMES])}{more}"


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
    are_numbers = all(type(value) in (int, float) for value in values)
    if len(values) > 3 and are_numbers:
        one_by_one = [values[0] + place for place in range(len(values))]
        if list(values) == one_by_one:
            return f"{text(values[0])} to {text(values[-1])}"
    return ", ".join(map(text, values))


def _or_unknown(seconds: float | None) -> str:
    return _UNKNOWN if seconds is None else _duration(seconds)


def _range(low: float, high: float) -> str:
    length, unit = _unit(high)
    numbers = dict.fromkeys(f"{max(seconds / length, 1):.0f}" for seconds in (low, high))
    return f"{' to '.join(numbers)} {unit}"


def _duration(seconds: float) -> str:
    length, unit = _unit(seconds)
    return f"{seconds / length:.0f} {unit}"


def _unit(seconds: float) -> tuple[int, str]:
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return length, unit
    return 1, "s"
