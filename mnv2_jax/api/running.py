"""Runs an experiment: claims its folder, trains what is not finished, writes the report."""

import contextlib
import dataclasses
import functools
import json
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnv2_jax import schema, user_code
from mnv2_jax.ablation import estimates, finished, networks, plans, sweep, tidy, workdir
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.job import Job
from mnv2_jax.ablation.launchers import LAUNCHERS, Launcher, Watch
from mnv2_jax.ablation.sweep import Outcome
from mnv2_jax.ablation.trainers import Trainers
from mnv2_jax.ablation.workdir import Workdir
from mnv2_jax.analysis import accuracies, caveats, stated, tables
from mnv2_jax.analysis.claim_tables import claims_table
from mnv2_jax.api import pictures
from mnv2_jax.api.messages import Messages
from mnv2_jax.api.planning import Planned
from mnv2_jax.api.report import write_report
from mnv2_jax.api.rounds import Round, rounds
from mnv2_jax.checksums import DamagedError
from mnv2_jax.terminal import first_few
from mnv2_jax.train import environment, processes
from mnv2_jax.train.preemption import StopRequest


@dataclasses.dataclass(frozen=True)
class Origin:
    """The origin of an experiment, as it is recorded.

    Attributes:
      command: what started this process, for the records of runs.
      again: the command for all of the results, for plan.json and the report.
      config: a config file and its argument, in which the claims are stated.
    """

    command: str
    again: str
    config: str


def run(
    planned: Planned,
    where: str | Path,
    job: Job,
    launcher: Launcher,
    messages: Messages,
    origin: Origin,
    remarks: Sequence[str] = (),
) -> tuple[Workdir, Outcome]:
    """Train the runs that are not finished, decide the claims and write a report.

    Args:
      planned: the experiment.
      where: its folder, which may be in a bucket.
      job: how runs are trained; it has no cohorts yet.
      launcher: trains them.
      messages: where messages go.
      origin: of the experiment, for records.
      remarks: lines to print before anything trains.

    Returns:
      The folder, no longer claimed, and how many runs were trained and failed.

    Raises:
      ValueError: the workdir is wrong, or an image cannot be decoded.
      OSError: the workdir cannot be written to.
      Interrupted: a signal came.
    """
    start = time.perf_counter()
    primary = processes.is_primary()
    mine = selected(planned.certain, launcher, messages.say)
    stop = StopRequest()
    claim = workdir.claimed(where, launcher.part) if primary else workdir.seen(where)
    with claim as here, _listening(stop):
        if primary:
            for line in first_few(tidy.tidy(here.path, planned.runs, alone=not launcher.part)):
                messages.say(line)
        said = [*_begin(planned, here, mine, launcher, messages, origin), *remarks]
        trained = failed = 0
        part, trainers = Round(planned, ()), None
        for part in rounds(planned, here, messages.say):
            trainers = trainers or Trainers(part.cohorts if planned.seeds else ())
            todo = _todo(part, here, launcher, messages, origin)
            while said:
                messages.say(said.pop(0))
            if not todo and planned.seeds:
                continue
            table = functools.partial(_write_table, here, part.planned.cohorts)
            watch = Watch(here, stop, messages.say, messages.progress, table, trainers)
            job = dataclasses.replace(job, workdir=here.location).with_cohorts(todo)
            vars(job)["given"] = planned.pretrained  # It is open already.
            outcome = _launched(launcher, job, watch)
            trained, failed = trained + outcome.trained, failed + outcome.failed
        if primary:
            _write_plan(here, part.planned, origin)
            _report(here, part.planned, messages, origin)
    messages.say(
        f"{_runs(trained)} trained, {failed} failed, {time.perf_counter() - start:.0f} s in all"
    )
    return here, Outcome(trained, failed)


def _launched(launcher: Launcher, job: Job, watch: Watch) -> Outcome:
    """Launch a job; a launcher of the user's own may raise and return anything."""
    try:
        outcome = launcher.launch(job, watch)
    except Exception as error:
        if type(launcher) in LAUNCHERS.values() or isinstance(error, (ValueError, OSError)):
            raise
        raise ValueError(f"launcher: {user_code.fault(error, type(launcher))}") from error
    if not isinstance(outcome, Outcome):
        raise ValueError(
            f"launcher: it returns {outcome!r:.60}; expected a mnv2_jax.api.Outcome, of how many "
            f"runs it trained and how many failed"
        )
    return outcome


def selected(planned: Planned, launcher: Launcher, say: Callable[[str], None]) -> list[Cohort]:
    """Return the cohorts that a launcher is to train; print a line if there are none."""
    mine = launcher.select(planned.cohorts)
    if not mine:
        say(f"{launcher}: it has no run; others have all {planned.count}")
    return mine


def _listening(stop: StopRequest) -> contextlib.AbstractContextManager[None]:
    """Listen to signals, which Python receives in its main thread alone."""
    in_main = threading.current_thread() is threading.main_thread()
    return stop.listening() if in_main else contextlib.nullcontext()


def _begin(
    planned: Planned,
    here: Workdir,
    mine: Sequence[Cohort],
    launcher: Launcher,
    messages: Messages,
    origin: Origin,
) -> list[str]:
    """Check what is there, and write the claims into the folder; return lines to print."""
    folder, cohorts = here.path, planned.cohorts
    finished.check_same(folder, cohorts)
    ended = planned.count - _count(finished.remaining(folder, cohorts))
    launcher.check(finished.remaining(folder, mine))
    if processes.is_primary():
        for line in _state(folder, planned, origin.config, ended):
            messages.say(line)
    unmeasured = finished.unmeasured(folder, cohorts)
    return [*planned.remarks, *_others(folder, cohorts), *unmeasured]


def _todo(
    part: Round, here: Workdir, launcher: Launcher, messages: Messages, origin: Origin
) -> list[Cohort]:
    """Return what is left to train of a round; write the plan into the folder before."""
    mine = launcher.select(part.cohorts)
    todo = finished.remaining(here.path, mine)
    count, left = _count(mine), _count(todo)
    if left or not part.planned.seeds:
        if processes.is_primary():
            _write_plan(here, part.planned, origin)
            here.sync()
        messages.say(
            f"Runs: {count}, cohorts: {len(mine)}; {count - left} finished before, {left} to train"
        )
    return todo


def _write_plan(here: Workdir, planned: Planned, origin: Origin) -> None:
    plans.write(here.path, planned.name, origin.again, planned.cohorts, planned.title)


def _state(folder: Path, planned: Planned, config: str, ended: int) -> list[str]:
    """Note when claims were first stated; return a line if an earlier note is damaged."""
    lines = []
    try:
        stated.read(folder)
    except DamagedError as error:
        aside = tidy.put_aside(folder / "stated.json", str(error))
        lines.append(f"{aside}; claims are stated now")
    version = {"config": config, **environment.checkout()}
    plan = dataclasses.asdict(planned.seeds) if planned.seeds else None
    stated.note(folder, planned.claims, version, ended, plan)
    return lines


def _write_table(here: Workdir, cohorts: Sequence[Cohort]) -> list[dict[str, Any]]:
    """Write results.csv from the records of this process and of others; return its rows."""
    with contextlib.suppress(OSError):  # A bucket that cannot be reached is tried again later.
        here.sync()
    return sweep.write_table(here.path, cohorts)


def _report(here: Workdir, planned: Planned, messages: Messages, origin: Origin) -> None:
    drawn, start = False, time.perf_counter()
    while True:
        rows = _write_table(here, planned.cohorts)
        try:
            pictures.write(here.path, planned.cohorts)
        except (ValueError, OSError) as error:
            messages.say(f"Pictures of mistaken images are left out of the report: {error}")
        decided, is_new = write_report(
            here.path,
            planned.claims,
            title=planned.title or planned.name,
            name=planned.name,
            command=origin.again,
        )
        drawn |= is_new
        # If others published records meanwhile, the report has to have them.
        if not here.sync():
            break
    if drawn:
        estimates.note_report(time.perf_counter() - start)
    ruined = sum(row.get("restored_epoch") is not None for row in rows)
    if caveat := caveats.on_ruined(ruined, len(rows)):
        messages.say(caveat)
    frame = tables.read_results(here.path)
    if accuracies.lead(frame):
        messages.show(accuracies.table(frame))
    if decided and frame["seed"].nunique() < 2:
        messages.say(f"Claims: {len(decided)}, undecided: one seed gives no interval")
    elif decided:
        messages.show(claims_table(decided))
    else:
        described = schema.read_columns(here.path)
        for row in rows:
            messages.say(_measured(row, described))
    if diverged := sum(row["status"] == "diverged" for row in rows):
        messages.say(f"{_runs(diverged)} diverged: the loss became NaN or infinite")
    missing = f", of {len(rows)} of {_runs(planned.count)}" if len(rows) < planned.count else ""
    unchanged = "" if drawn else ", not drawn again: nothing that it shows has changed"
    messages.say(f"Report: {here.shown(here.path / 'report.html')}{missing}{unchanged}")
    best = networks.best(here.path)
    if best:
        path = here.shown(best)
        how = f"python -m experiments.predict --checkpoint={shlex.quote(path)} IMAGE"
        if not origin.command.startswith("python "):
            how = f"mnv2_jax.api.load({json.dumps(path)})"
        messages.say(f"Its best network, by validation accuracy: {how}")


def _others(folder: Path, cohorts: Sequence[Cohort]) -> list[str]:
    """Return a line if the folder has runs that this grid does not have."""
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
