"""Runs an experiment: its folder, the training of what is not finished, its report."""

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
from mnv2_jax.ablation import finished, networks, plans, sweep, tidy, workdir
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.job import Job
from mnv2_jax.ablation.launchers import LAUNCHERS, Launcher, Watch
from mnv2_jax.ablation.pretrained import PretrainedWeights
from mnv2_jax.ablation.sweep import Outcome
from mnv2_jax.ablation.workdir import Workdir
from mnv2_jax.analysis import caveats, stated
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.verdicts import claims_table
from mnv2_jax.api.report import write_report
from mnv2_jax.api.telling import Teller
from mnv2_jax.checksums import DamagedError
from mnv2_jax.terminal import first_few
from mnv2_jax.train import environment, processes
from mnv2_jax.train.preemption import StopRequest


@dataclasses.dataclass(frozen=True)
class Planned:
    """An experiment that can be run.

    Attributes:
      name: its title.
      cohorts: all of its runs.
      claims: to be decided.
      remarks: lines to tell first: of folders of images, and of claims that cannot be decided.
      given: a base that runs start from.
    """

    name: str
    cohorts: tuple[Cohort, ...]
    claims: tuple[Claim, ...]
    remarks: tuple[str, ...]
    given: PretrainedWeights | None

    @property
    def count(self) -> int:
        """The number of its runs."""
        return _count(self.cohorts)


@dataclasses.dataclass(frozen=True)
class Origin:
    """The origin of an experiment, as it is recorded.

    Attributes:
      command: what started this process, for the records of runs.
      again: what gives all of the results again, for plan.json and the report.
      config: what claims are stated in: a config file and its argument.
    """

    command: str
    again: str
    config: str


def run(
    planned: Planned,
    where: str | Path,
    job: Job,
    launcher: Launcher,
    teller: Teller,
    origin: Origin,
    choices: Sequence[str] = (),
) -> tuple[Workdir, Outcome]:
    """Train the runs that are not finished, decide the claims and write a report.

    Args:
      planned: the experiment.
      where: its folder, which may be in a bucket.
      job: how runs are trained; of no cohorts yet.
      launcher: trains them.
      teller: tells people.
      origin: what to record.
      choices: lines to tell before anything trains.

    Returns:
      The folder, which is claimed no more, and what became of the runs.

    Raises:
      ValueError: the workdir is wrong, or an image cannot be decoded.
      OSError: the workdir cannot be written to.
      Interrupted: a signal came.
    """
    start = time.perf_counter()
    primary = processes.is_primary()
    mine = selected(planned, launcher, teller.say)
    stop = StopRequest()
    claim = workdir.claimed(where, launcher.part) if primary else workdir.seen(where)
    with claim as here, _listening(stop):
        if primary:
            _tidy(here, planned, teller, alone=not launcher.part)
        todo = _begin(planned, here, mine, launcher, teller, origin)
        for line in choices:
            teller.say(line)
        table = functools.partial(_write_table, here, planned.cohorts)
        watch = Watch(here, stop, teller.say, teller.progress, table)
        at = dataclasses.replace(job, workdir=here.location).with_cohorts(todo)
        vars(at)["given"] = planned.given  # It is open already.
        outcome = _launched(launcher, at, watch)
        if primary:
            _report(here, planned, teller, origin)
    teller.say(
        f"{_runs(outcome.trained)} trained, {outcome.failed} failed, "
        f"{time.perf_counter() - start:.0f} s in all"
    )
    return here, outcome


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
    """Return the runs that a launcher is to train; says so if there are none."""
    mine = launcher.select(planned.cohorts)
    if not mine:
        say(f"{launcher}: it has no run; others have all {planned.count}")
    return mine


def _listening(stop: StopRequest) -> contextlib.AbstractContextManager[None]:
    """Python receives signals in its main thread alone."""
    in_main = threading.current_thread() is threading.main_thread()
    return stop.listening() if in_main else contextlib.nullcontext()


def _tidy(here: Workdir, planned: Planned, teller: Teller, *, alone: bool) -> None:
    runs = [run.id for part in planned.cohorts for run in part.runs]
    for line in first_few(tidy.tidy(here.path, runs, alone=alone)):
        teller.say(line)


def _begin(
    planned: Planned,
    here: Workdir,
    mine: Sequence[Cohort],
    launcher: Launcher,
    teller: Teller,
    origin: Origin,
) -> list[Cohort]:
    """Find what is to be trained, and note in the folder that it is begun."""
    folder, cohorts = here.path, planned.cohorts
    finished.check_same(folder, cohorts)
    unfinished = finished.remaining(folder, cohorts)
    is_all = _count(mine) == planned.count
    todo = unfinished if is_all else finished.remaining(folder, mine)
    launcher.check(todo)
    if processes.is_primary():
        plans.write(folder, planned.name, origin.again, cohorts)
        version = {"config": origin.config, **environment.checkout()}
        if line := _state(folder, planned.claims, version, planned.count - _count(unfinished)):
            teller.say(line)
        here.sync()
    count, left = _count(mine), _count(todo)
    teller.say(
        f"Runs: {count}, cohorts: {len(mine)}; {count - left} finished before, {left} to train"
    )
    lacking = finished.unmeasured(folder, cohorts)
    for line in [*planned.remarks, *_others(folder, cohorts), *lacking]:
        teller.say(line)
    return todo


def _state(folder: Path, claims: Sequence[Claim], version: Mapping[str, Any], finished: int) -> str:
    """Note when claims were stated; a line where what was noted before is damaged."""
    line = ""
    try:
        stated.read(folder)
    except DamagedError as error:
        line = f"{tidy.put_aside(folder / 'stated.json', str(error))}; claims are stated now"
    stated.note(folder, claims, version, finished)
    return line


def _write_table(here: Workdir, cohorts: Sequence[Cohort]) -> list[dict[str, Any]]:
    """Bring results.csv up to date with what was recorded here and elsewhere; give its rows."""
    with contextlib.suppress(OSError):  # A bucket that is lost is tried again.
        here.sync()
    return sweep.write_table(here.path, cohorts)


def _report(here: Workdir, planned: Planned, teller: Teller, origin: Origin) -> None:
    drawn = False
    while True:
        rows = _write_table(here, planned.cohorts)
        decided, is_new = write_report(
            here.path, planned.claims, title=planned.name, command=origin.again
        )
        drawn |= is_new
        # Whoever publishes last, if records of others came meanwhile, has to have seen them.
        if not here.sync():
            break
    ruined = sum(row.get("restored_epoch") is not None for row in rows)
    if said := caveats.on_ruined(ruined, len(rows)):
        teller.say(said)
    if planned.claims:
        teller.show(claims_table(decided))
    else:
        described = schema.read_columns(here.path)
        for row in rows:
            teller.say(_measured(row, described))
    if diverged := sum(row["status"] == "diverged" for row in rows):
        teller.say(f"{_runs(diverged)} diverged: the loss became NaN or infinite")
    missing = f", of {len(rows)} of {_runs(planned.count)}" if len(rows) < planned.count else ""
    as_before = "" if drawn else ", not drawn again: nothing that it shows has changed"
    teller.say(f"Report: {here.shown(here.path / 'report.html')}{missing}{as_before}")
    best = networks.best(here.path)
    if best:
        place = here.shown(best)
        how = f"python -m experiments.predict --checkpoint={shlex.quote(place)} IMAGE"
        if not origin.command.startswith("python "):
            how = f"mnv2_jax.api.load({json.dumps(place)})"
        teller.say(f"Its best network, by validation accuracy: {how}")


def _others(folder: Path, cohorts: Sequence[Cohort]) -> list[str]:
    """Say that there are runs in the folder which this grid does not have, if so."""
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
