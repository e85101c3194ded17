"""Trains the runs of an experiment: the folder, a sweep and its report."""

import dataclasses
import functools
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments import command_line, dry_run, session
from mnv2_jax import atomic, schema
from mnv2_jax.ablation import (
    cohort,
    estimates,
    finished,
    grid,
    networks,
    packs,
    plans,
    records,
    shards,
    starts,
    sweep,
    tidy,
    workdir,
)
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.folder import Workdir
from mnv2_jax.ablation.preview import draw_preview
from mnv2_jax.ablation.progress import show_progress
from mnv2_jax.ablation.shards import Shard
from mnv2_jax.ablation.starts import Given
from mnv2_jax.analysis import notes, stated
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.verdicts import check, claims_table, undecidable
from mnv2_jax.checksums import DamagedError
from mnv2_jax.terminal import Console, first_few, outlive
from mnv2_jax.train import processes, runlog
from mnv2_jax.train.stopping import Stop


@dataclasses.dataclass(frozen=True)
class Job:
    """A sweep to be done.

    Attributes:
      console: where to tell how it goes.
      workdir: the experiment's folder.
      todo: what is to be trained, finished runs left out.
      stop: signals that are to end it; they are listened to.
      saving: what is kept beside the results.
      given: a base that runs start from.
      recorded: to be called now and then: brings results.csv up to date.
    """

    console: Console
    workdir: Workdir
    todo: Sequence[Cohort]
    stop: Stop
    saving: sweep.Saving
    given: Given | None
    recorded: Callable[[], object]


def train_here(job: Job) -> sweep.Outcome:
    """Does a job in this process.

    Raises:
      ValueError: an image cannot be decoded.
      OSError: a result cannot be written.
      Interrupted: a signal came.
    """
    command = command_line.command()
    with show_progress(job.console, job.todo) as progress:
        outcome = sweep.sweep(
            *(job.workdir.path, job.todo, command, progress, job.stop, job.saving),
            *(session.workers(), job.recorded, job.given),
        )
    if processes.is_primary():
        estimates.note(job.workdir.path, job.todo)
    return outcome


def train_pack(configs: Sequence[ConfigDict], where: str, runs: Sequence[str], pack: str) -> None:
    """Trains some runs of a grid that another process leads, which writes results and report.

    Args:
      configs: of the grid.
      where: the experiment's folder.
      runs: ids of runs of one cohort.
      pack: what the checkpoints of these runs go by.

    Raises:
      ValueError: an image cannot be decoded, or another process trains the same pack.
      OSError: a result cannot be written.
    """
    mine = [config for config in configs if grid.run_id(config) in set(runs)]
    (planned,) = cohort.plan(mine, session.open_dataset)
    cohorts = [dataclasses.replace(planned, id=pack)]
    stop = Stop()
    with workdir.claimed(where, f"pack-{pack}", runs) as here, stop.listening():
        todo = finished.remaining(here.path, cohorts)
        packs.check_memory(todo)
        quiet = Console(quiet=True)
        train_here(Job(quiet, here, todo, stop, saving(), None, recorded=lambda: None))


def saving(*, keep: bool = False, networks: bool = False) -> sweep.Saving:
    """When checkpoints are written, as the flags say, and what is kept beside the results."""
    return sweep.Saving(session.CHECKPOINT_SECONDS.value, keep, networks)


def train(
    name: str,
    configs: Sequence[ConfigDict],
    claims: Sequence[Claim],
    *,
    shard: Shard | None = None,
    launch: Callable[[Job], sweep.Outcome] = train_here,
    saved: sweep.Saving | None = None,
    given: Given | None = None,
    previewed: ConfigDict | None = None,
) -> sweep.Outcome:
    """Trains runs that are not finished, decides the claims and writes a report.

    Args:
      name: of the experiment: its title, and the default of `--workdir`.
      configs: one per run.
      claims: to be decided.
      shard: the part of the runs that is trained; by default all.
      launch: does the job.
      saved: what is kept beside the results; by default nothing.
      given: a base that runs start from.
      previewed: the run whose images `--preview` draws; by default the first.

    Raises:
      ValueError: a config, a claim or the workdir is wrong.
      OSError: the workdir or the data cache cannot be written to.
      Interrupted: a signal came.
    """
    start = time.perf_counter()
    primary = processes.is_primary()
    console = Console(soft_wrap=not sys.stdout.isatty(), quiet=not primary)
    if session.PREVIEW.value:
        _preview(console, previewed or configs[0])
        return sweep.Outcome(trained=0, failed=0)
    cohorts = cohort.plan(configs, session.open_dataset)
    if given:
        starts.check(given, cohorts)
    check(claims, records.columns([run for part in cohorts for run in part.runs]))
    doubts = undecidable(claims, records.planned(cohorts))
    mine = shards.of_shard(cohorts, shard) if shard else cohorts
    if shard and not mine:
        text = f"{shard.number}/{shard.of}: it has no run; others have all {_count(cohorts)}"
        console.print(f"--shard={text}")
    if session.DRY_RUN.value:
        if launch is train_here:
            packs.check_memory(mine)
        dry_run.show(console, mine, [claim.name for claim in claims], doubts)
        return sweep.Outcome(trained=0, failed=0)
    outlive("stdout")
    where = session.WORKDIR.value or Path("runs") / name
    command = command_line.of_the_whole(command_line.command())
    part = f"shard-{shard}" if shard else "" if launch is train_here else "launcher"
    stop = Stop()
    claim = workdir.claimed(where, part) if primary else workdir.seen(where)
    with claim as here, stop.listening():
        folder = here.path
        if primary:
            runs = [run.id for part in cohorts for run in part.runs]
            for line in first_few(tidy.tidy(folder, runs, alone=not part)):
                console.print(line, highlight=False)
        finished.check(folder, cohorts)
        unfinished = finished.remaining(folder, cohorts)
        todo = finished.remaining(folder, mine) if shard else unfinished
        if launch is train_here:
            packs.check_memory(todo)
        if primary:
            plans.write(folder, name, command, cohorts)
            if line := _state(folder, claims, _count(cohorts) - _count(unfinished)):
                console.print(line, highlight=False)
            here.sync()
        count, left = _count(mine), _count(todo)
        console.print(
            f"Runs: {count}, cohorts: {len(mine)}; {count - left} finished before, {left} to train"
        )
        for line in [*doubts, *_others(folder, cohorts)]:
            console.print(line)
        table = functools.partial(_write_table, here, cohorts)
        outcome = launch(Job(console, here, todo, stop, saved or saving(), given, table))
        if primary:
            _report(console, here, name, command, cohorts, claims)
    console.print(
        f"{_runs(outcome.trained)} trained, {outcome.failed} failed, "
        f"{time.perf_counter() - start:.0f} s in all"
    )
    return outcome


def _state(folder: Path, claims: Sequence[Claim], finished: int) -> str:
    """Notes when claims were stated; a line where what was noted before is damaged."""
    line = ""
    try:
        stated.read(folder)
    except DamagedError as error:
        line = f"{tidy.put_aside(folder / 'stated.json', str(error))}; claims are stated now"
    stated.note(folder, claims, _version(), finished)
    return line


def _preview(console: Console, config: ConfigDict) -> None:
    path = Path(str(session.PREVIEW.value))
    if path.suffix != ".png":
        raise ValueError(f"--preview={path}: expected a file that ends in .png")
    (first,) = cohort.plan([config], session.open_dataset)
    packs.check_memory([first])
    draw_preview(path, first)
    console.print(f"What the network sees: {path}; nothing is trained")


def _version() -> dict[str, Any]:
    """Which config file it is, and its state."""
    path, argument = command_line.config_path()
    return {"config": ":".join([str(path), *argument]), **runlog.checkout()}


def _write_table(here: Workdir, cohorts: Sequence[Cohort]) -> list[dict[str, Any]]:
    """Brings results.csv up to date with what was recorded here and elsewhere; gives its rows."""
    here.sync()
    return sweep.write_table(here.path, cohorts)


def _report(
    console: Console,
    here: Workdir,
    name: str,
    command: str,
    cohorts: Sequence[Cohort],
    claims: Sequence[Claim],
) -> None:
    from mnv2_jax.analysis.report import analyse  # Altair, which takes most of a second to import.

    while True:
        rows = _write_table(here, cohorts)
        with atomic.in_turns(here.path / ".report.lock"):
            decided = analyse(here.path, claims, title=name, command=command)
        # Whoever publishes last, if records of others came meanwhile, has to have seen them.
        if not here.sync():
            break
    ruined = sum(row.get("restored_epoch") is not None for row in rows)
    if said := notes.on_ruined(ruined, len(rows)):
        console.print(said, highlight=False)
    if claims:
        console.print(claims_table(decided))
    else:
        described = schema.read_columns(here.path)
        for row in rows:
            console.print(_measured(row, described), highlight=False)
    count = _count(cohorts)
    if diverged := sum(row["status"] == "diverged" for row in rows):
        console.print(f"{_runs(diverged)} diverged: the loss became NaN or infinite")
    missing = f", of {len(rows)} of {_runs(count)}" if len(rows) < count else ""
    console.print(f"Report: {here.shown(here.path / 'report.html')}{missing}")
    best = networks.best(here.path)
    if best:
        place = shlex.quote(here.shown(best))
        command = f"python -m experiments.predict --checkpoint={place} IMAGE"
        console.print(f"Its best network, by validation accuracy: {command}")


def _others(folder: Path, cohorts: Sequence[Cohort]) -> list[str]:
    """Says that there are runs in the folder which this grid does not have, if so."""
    mine = {run.id for cohort in cohorts for run in cohort.runs}
    others = [path for path in folder.glob("runs/[!.]*") if path.name not in mine]
    if not others:
        return []
    return [f"{_runs(len(others))} of other configs in this folder: not in the table or the report"]


def _count(cohorts: Sequence[Cohort]) -> int:
    return sum(len(part.runs) for part in cohorts)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _measured(row: Mapping[str, Any], described: Mapping[str, schema.Column]) -> str:
    columns = [schema.column(name, described) for name in row if row[name] is not None]
    measured = [
        f"{column.label.lower()} {column.text(row[column.name])}"
        for column in columns
        if column.kind == "measure" and not column.of_machine
    ]
    return f"Run {row['run_id']} {row['status']}: {', '.join(measured) or 'not measured'}"
