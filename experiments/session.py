"""What experiments that train have in common: flags, the folder, a sweep and its report."""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags
from rich.console import Console

from experiments import command_line, dry_run, speeds
from experiments.preview import draw_preview
from experiments.progress import show_progress
from mnv2_jax import atomic, cache, cores
from mnv2_jax.ablation import cohort, finished, grid, records, shards, sweep, workdir
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.shards import Shard
from mnv2_jax.ablation.workdir import Workdir
from mnv2_jax.analysis import stated
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.verdicts import check, claims_table, undecidable
from mnv2_jax.data import sources
from mnv2_jax.train import compilation, parallel, processes, runlog
from mnv2_jax.train.stopping import Stop

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The config file; --config.KEY=VALUE sets a field of it.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The folder for results, which may be gs://BUCKET/PATH or s3://BUCKET/PATH. "
    "Default: runs/<name of the experiment>.",
)
_CHECKPOINT_SECONDS = flags.DEFINE_float(
    "checkpoint_seconds",
    60.0,
    "After so many seconds of training, a checkpoint is written at the next end of an epoch; "
    "after twice as many, within one. What a kill costs at most.",
    lower_bound=0.0,
)
_COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "The folder that compiled programs are kept in, or 'off'. Default: the user's cache folder.",
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Start this process as one of several that share batches, by jax.distributed.initialize(): on "
    "a TPU pod or under Slurm it finds the others by itself, elsewhere JAX_COORDINATOR_ADDRESS, "
    "JAX_NUM_PROCESSES and JAX_PROCESS_ID tell.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "The folder of prepared data sets. Default: in the user's cache folder."
)
_DATA_WORKERS = flags.DEFINE_integer(
    "data_workers",
    None,
    "Processes that decode images which are streamed; 0 decodes in threads. No number changes what "
    "comes out. Default: 0 on CPU, else all cores but one.",
    lower_bound=0,
)
_ON_CORRUPT = flags.DEFINE_enum(
    "on_corrupt",
    "fail",
    ["fail", "skip"],
    "What to do with an image that cannot be decoded: stop, or leave it out and tell. Damaged "
    "files of records stop a run always.",
)
flags.DEFINE_bool("print_config", False, "Print the config as it is with all flags, and end.")
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Tell what there is to train, how long it takes and what it costs, and end."
)
_PREVIEW = flags.DEFINE_string(
    "preview", None, "Draw what the first run's network sees into this PNG file, and end."
)


def begin() -> None:
    """Sets jax up, before it is first used, as the flags say.

    Raises:
      ValueError: there is no config, the workdir's URI is wrong, the folder for compiled programs
        cannot be made, or the processes do not find one another.
    """
    if CONFIG.value is None:
        raise ValueError("--config: expected the path of a config file, such as configs/digits.py")
    workdir.check(_WORKDIR.value or "")  # A dry run does not come to claim it.
    _keep_programs(_COMPILATION_CACHE.value)
    parallel.use_all_cores()
    if _DISTRIBUTED.value:
        processes.join()


def _keep_programs(where: str | None) -> None:
    if where == "off":
        compilation.keep_programs(None)
        return
    folder = Path(where) if where else cache.folder() / "programs"
    try:
        compilation.keep_programs(folder)
    except OSError as error:
        raise ValueError(
            f"--compilation_cache={folder}: cannot be made ({error.strerror}); expected a folder "
            f"to write to, or 'off'"
        ) from None


@dataclasses.dataclass(frozen=True)
class Job:
    """A sweep to be done.

    Attributes:
      console: where to tell how it goes.
      workdir: the experiment's folder.
      todo: what is to be trained, finished runs left out.
      keep_checkpoints: leave them beside the results.
      recorded: to be called now and then: brings results.csv up to date.
    """

    console: Console
    workdir: Workdir
    todo: Sequence[Cohort]
    keep_checkpoints: bool
    recorded: Callable[[], object]


def train_here(job: Job) -> sweep.Outcome:
    """Does a job in this process.

    Raises:
      ValueError: an image cannot be decoded.
      OSError: a result cannot be written.
      Interrupted: a signal came.
    """
    stop = Stop()
    saving = sweep.Saving(_CHECKPOINT_SECONDS.value, job.keep_checkpoints)
    command = command_line.command()
    with stop.listening(), show_progress(job.console, job.todo) as progress:
        outcome = sweep.sweep(
            *(job.workdir.path, job.todo, command, progress, stop, saving, _workers()), job.recorded
        )
    if processes.is_primary():
        speeds.note(job.workdir.path, job.todo)
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
    (planned,) = cohort.plan(mine, open_dataset)
    cohorts = [dataclasses.replace(planned, id=pack)]
    with workdir.claimed(where, f"pack-{pack}", runs) as here:
        todo = finished.remaining(here.path, cohorts)
        train_here(Job(Console(quiet=True), here, todo, False, recorded=lambda: None))


def train(
    name: str,
    configs: Sequence[ConfigDict],
    claims: Sequence[Claim],
    *,
    shard: Shard | None = None,
    launch: Callable[[Job], sweep.Outcome] = train_here,
    keep_checkpoints: bool = False,
) -> sweep.Outcome:
    """Trains runs that are not finished, decides the claims and writes a report.

    Args:
      name: of the experiment: its title, and the default of `--workdir`.
      configs: one per run.
      claims: to be decided.
      shard: the part of the runs that is trained; by default all.
      launch: does the job.
      keep_checkpoints: leave them beside the results.

    Raises:
      ValueError: a config, a claim or the workdir is wrong.
      OSError: the workdir or the data cache cannot be written to.
      Interrupted: a signal came.
    """
    start = time.perf_counter()
    primary = processes.is_primary()
    console = Console(soft_wrap=not sys.stdout.isatty(), quiet=not primary)
    if _PREVIEW.value:
        _preview(console, configs[0])
        return sweep.Outcome(trained=0, failed=0)
    cohorts = cohort.plan(configs, open_dataset)
    check(claims, records.columns([run for part in cohorts for run in part.runs]))
    doubts = undecidable(claims, records.planned(cohorts))
    mine = shards.of_shard(cohorts, shard) if shard else cohorts
    if shard and not mine:
        text = f"{shard.number}/{shard.of}: it has no run; others have all {_count(cohorts)}"
        console.print(f"--shard={text}")
    if _DRY_RUN.value:
        dry_run.show(console, mine, [claim.name for claim in claims], doubts)
        return sweep.Outcome(trained=0, failed=0)
    where = _WORKDIR.value or Path("runs") / name
    command = command_line.of_the_whole(command_line.command())
    part = f"shard-{shard}" if shard else "" if launch is train_here else "launcher"
    with workdir.claimed(where, part) if primary else workdir.seen(where) as here:
        folder = here.path
        finished.check(folder, cohorts)
        unfinished = finished.remaining(folder, cohorts)
        todo = finished.remaining(folder, mine) if shard else unfinished
        if primary:
            records.write_plan(folder, name, command, cohorts)
            stated.note(folder, claims, _version(), _count(cohorts) - _count(unfinished))
            here.sync()
        count, left = _count(mine), _count(todo)
        console.print(
            f"Runs: {count}, cohorts: {len(mine)}; {count - left} finished before, {left} to train"
        )
        for line in [*doubts, *_others(folder, cohorts)]:
            console.print(line)
        table = functools.partial(_write_table, here, cohorts)
        outcome = launch(Job(console, here, todo, keep_checkpoints, table))
        if primary:
            _report(console, here, name, command, cohorts, claims)
    console.print(
        f"{_runs(outcome.trained)} trained, {outcome.failed} failed, "
        f"{time.perf_counter() - start:.0f} s in all"
    )
    return outcome


def _preview(console: Console, config: ConfigDict) -> None:
    path = Path(str(_PREVIEW.value))
    if path.suffix != ".png":
        raise ValueError(f"--preview={path}: expected a file that ends in .png")
    (first,) = cohort.plan([config], open_dataset)
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
    if claims:
        console.print(claims_table(decided))
    else:
        for row in rows:
            console.print(_accuracies(row), highlight=False)
    count = _count(cohorts)
    missing = f", of {len(rows)} of {_runs(count)}" if len(rows) < count else ""
    console.print(f"Report: {here.shown(here.path / 'report.html')}{missing}")


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


def open_dataset(selection: sources.Selection) -> sources.Dataset:
    """Opens a data set as the flags say; see `mnv2_jax.data.sources.load`."""
    folder = Path(_DATA_DIR.value) if _DATA_DIR.value else None
    if folder and not folder.is_dir() and selection.name not in sources.EMBEDDED:
        what = "it is a file" if folder.exists() else "no such folder"
        raise ValueError(f"--data_dir={folder}: {what}; expected that of prepared data sets")
    return sources.load(selection, folder, skip_corrupt=_ON_CORRUPT.value == "skip")


def _workers() -> int:
    if _DATA_WORKERS.value is not None:
        return int(_DATA_WORKERS.value)
    return 0 if jax.default_backend() == "cpu" else max(1, cores.available() - 1)


def _accuracies(row: Mapping[str, Any]) -> str:
    measured = [
        f"{split} {100 * row[column]:.2f} %"
        for split in ("train", "validation", "test")
        if row.get(column := f"{split}_accuracy") is not None
    ]
    return f"Run {row['run_id']} {row['status']}: accuracy {', '.join(measured) or 'not measured'}"
