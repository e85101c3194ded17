"""Trains a grid cohort by cohort: skips finished runs, and records each chunk when it ends."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

from mnv2_jax import atomic
from mnv2_jax.ablation import chunks, estimates, finished, records, resolve
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.ablation.heartbeat import Heartbeat
from mnv2_jax.ablation.pretrained import NotTrained, PretrainedLoader, PretrainedWeights
from mnv2_jax.ablation.trainers import Trainers
from mnv2_jax.nn.trained import Trained
from mnv2_jax.train import callbacks as cb
from mnv2_jax.train import environment, processes
from mnv2_jax.train.checkpoint import Checkpoints
from mnv2_jax.train.loop import Trainer
from mnv2_jax.train.preemption import Interrupted, StopRequest
from mnv2_jax.train.results import LaneResult

# Raised by XLA and NumPy when a program does not compile or does not fit into memory, and for runs
# that start from a run that failed so. Any other error is a fault of this code and ends the sweep.
_COHORT_ERRORS = (jax.errors.JaxRuntimeError, MemoryError, NotTrained)


class Progress:
    """Receives the events of a sweep; this class ignores them."""

    def cohort_started(self, number: int, of: int, cohort: Cohort) -> None:
        """Handle the start of a cohort, whose programs may still be compiled."""

    def chunk_started(self, cohort: Cohort, lanes: int) -> None:
        """Handle the start of training of lanes, when the programs are compiled."""

    def trained(self, cohort: Cohort, lanes: int, step: int) -> None:
        """Handle the steps that lanes have done; called first before the first step."""

    def cohort_failed(self, cohort: Cohort, error: str) -> None:
        """Handle the error of a cohort; the sweep goes on."""

    def said(self, line: str) -> None:
        """Handle another line for the user, about a choice or a skipped checkpoint."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a sweep.

    Attributes:
      trained: number of runs that finished in this sweep.
      failed: number of runs whose cohort ended with an error.
    """

    trained: int
    failed: int


@dataclasses.dataclass(frozen=True)
class Saving:
    """Options of saving checkpoints and networks.

    Attributes:
      seconds: see `mnv2_jax.train.callbacks.Checkpointing`.
      keep: also save the last step, and keep the checkpoints of finished runs.
      networks: save the trained network in the record of each run.
    """

    seconds: float = 60.0
    keep: bool = False
    networks: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.seconds, (int, float)) and self.seconds >= 0):
            raise ValueError(f"checkpoint_seconds={self.seconds!r}: expected a number, 0 or more")


def write_table(workdir: Path, cohorts: Sequence[Cohort]) -> list[dict[str, Any]]:
    """Write results.csv, of finished and failed runs, and return its rows.

    Where several processes train parts of a grid, the last one writes the rows of all.
    """
    with atomic.in_turns(workdir / ".results.lock"):
        rows = records.rows(workdir, cohorts)
        measured = records.measured_of([run for cohort in cohorts for run in cohort.runs])
        records.write_table(workdir, rows, measured)
    return rows


@dataclasses.dataclass
class Sweep:
    """Trains every run that is not finished.

    While a cohort trains, the next ones compile: compilation leaves cores idle. A cohort that fails
    does not stop the others; its runs are tried again the next time. Of processes that train
    together, only the primary one writes.

    Attributes:
      workdir: the experiment's folder; see `mnv2_jax.ablation.records`.
      cohorts: the runs.
      command: the command line, for the records.
      progress: receives events.
      stop: the signals that stop training.
      saving: by default a checkpoint per minute, removed when the cohort ends.
      workers: processes that decode streamed images.
      recorded: called by the primary process after the records of each cohort are written.
      given: weights that runs start from.
      measured: filled with the times of cohorts, by id.
      trainers: by default none are kept.
    """

    workdir: Path
    cohorts: Sequence[Cohort]
    command: str
    progress: Progress
    stop: StopRequest = dataclasses.field(default_factory=StopRequest)
    saving: Saving = Saving()
    workers: int = 0
    recorded: Callable[[], object] = lambda: None
    given: PretrainedWeights | None = None
    measured: dict[str, estimates.Measured] = dataclasses.field(default_factory=dict)
    trainers: Trainers = dataclasses.field(default_factory=Trainers)

    def __post_init__(self) -> None:
        self._pretrained = PretrainedLoader(self.workdir, self.given)
        self._failed = 0

    def run(self) -> Outcome:
        """Train, and return how many runs finished and failed.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          Interrupted: a signal came; the next sweep resumes where this one stopped.
          OSError: a result or a checkpoint cannot be written.
        """
        todo = finished.remaining(self.workdir, self.cohorts)
        compiler = ThreadPoolExecutor(max_workers=1)
        compiling = collections.deque(compiler.submit(self._compile, cohort) for cohort in todo)
        if todo and processes.is_primary():
            environment.load()
        try:
            for number, cohort in enumerate(todo, start=1):
                self.progress.cohort_started(number, len(todo), cohort)
                try:
                    self._train(cohort, compiling.popleft())
                except _COHORT_ERRORS as error:
                    if jax.process_count() > 1:
                        raise  # The other processes wait for this one, and have to end too.
                    message = " ".join(str(error).split()) or type(error).__name__
                    self.progress.cohort_failed(cohort, message)
                    self._failed += finished.note_failure(self.workdir, cohort, message)
                if processes.is_primary():
                    self.recorded()
        finally:
            # A compilation in progress cannot be stopped; do not wait for it.
            compiler.shutdown(wait=False, cancel_futures=True)
        trained = sum(len(cohort.runs) for cohort in todo)
        return Outcome(trained=trained - self._failed, failed=self._failed)

    def _compile(self, cohort: Cohort) -> tuple[Trainer, list[str]]:
        _, size = chunks.Unfinished(self.workdir, cohort).chunk(cohort.runs)
        compiled = self.trainers.of(cohort, self.workers, size)
        self.measured[cohort.id] = compiled.measured
        _ = cohort.network_fingerprint  # Computed here, while the cohort before trains.
        return compiled.trainer, [*compiled.notes]

    def _train(self, cohort: Cohort, compiling: Future[tuple[Trainer, list[str]]]) -> None:
        trainer, notes = compiling.result()
        for line in notes:
            self.progress.said(line)
        unfinished = chunks.Unfinished(self.workdir, cohort)
        begun, size = unfinished.chunk(cohort.runs)
        if size != trainer.layout.count:
            begun = ()
        ids = {run.id for run in begun}
        others = [run for run in cohort.runs if run.id not in ids]
        queue = [
            *([begun] if begun else []),
            *chunks.split(others, trainer.layout.count, trainer.source),
        ]
        while queue:
            fewer = 0
            with self.stop.postponed():  # Until records are written.
                try:
                    results = self._train_chunk(cohort, queue[0], trainer, unfinished)
                except _COHORT_ERRORS as error:
                    fewer = chunks.halved(trainer.layout.count, error)
                else:
                    self._record(cohort, queue.pop(0), results, trainer, notes)
            if fewer:
                notes.append(f"out of memory training {trainer.layout.count} lanes; trying {fewer}")
                self.progress.said(notes[-1])
                del trainer  # Frees its memory before another is compiled.
                compiled = self.trainers.with_fewer(cohort, fewer, self.workers)
                trainer, notes = compiled.trainer, [*notes, *compiled.notes]
                del compiled
                runs = [run for part in queue for run in part if run.id in cohort.ids]
                queue = chunks.split(runs, trainer.layout.count, trainer.source)
            elif self.stop.signal:
                raise Interrupted(self.stop.signal, "what was in training is finished")
        if processes.is_primary() and not self.saving.keep:
            unfinished.remove()

    def _train_chunk(
        self, cohort: Cohort, chunk: chunks.Chunk, trainer: Trainer, unfinished: chunks.Unfinished
    ) -> list[LaneResult]:
        primary, began = processes.is_primary(), time.perf_counter()
        starts = [self._pretrained.load(run, cohort) if primary else None for run in chunk]
        lacking = [run.id for run in chunk if run.id in cohort.ids]
        self.progress.chunk_started(cohort, len(lacking))
        values = [run.values for run in chunk]
        life = Heartbeat(self.workdir, cohort.id, str(cohort), lacking)

        def on_step(step: int) -> None:
            times = self.measured[cohort.id]
            times.first_images = times.first_images or time.perf_counter() - began
            if primary:
                life.beat(step, cohort.program.steps)
            self.progress.trained(cohort, len(lacking), step)

        callbacks: list[cb.Callback] = [cb.Progress(on_step), cb.Preemption(self.stop)]
        tell = self.progress.said
        arguments = (values, callbacks, starts, tell, cohort.evaluate_test)
        if not primary:
            return trainer.run(*arguments)
        unfinished.begin(chunk, trainer.layout.count)
        identity = {
            "runs": [run.id for run in chunk],
            "network": cohort.network_fingerprint,
            "data": cohort.dataset.fingerprint,
            "jax": jax.__version__,
            # The curves in a checkpoint have a column for each.
            "metrics": [metric.name for metric in cohort.program.metrics],
            "user_files": cohort.user_files,
        }
        with contextlib.closing(Checkpoints(unfinished.checkpoints, identity)) as checkpoints:
            saving = self.saving
            callbacks += [
                environment.TensorBoardWriter(
                    self.workdir / "tensorboard", [run.id for run in chunk]
                ),
                cb.Checkpointing(checkpoints, tell, saving.seconds, save_last=saving.keep),
            ]
            try:
                return trainer.run(*arguments)
            finally:
                life.end()

    def _record(
        self,
        cohort: Cohort,
        chunk: chunks.Chunk,
        results: Sequence[LaneResult],
        trainer: Trainer,
        notes: Sequence[str],
    ) -> None:
        if not processes.is_primary():
            return
        described = {
            **environment.describe(self.command),
            "network": cohort.network_fingerprint,
            "data": cohort.dataset.fingerprint,
            **({"user_files": cohort.user_files} if cohort.user_files else {}),
            "lanes": len(chunk),
            "parallel": trainer.layout.name,
            "notes": list(notes),
            "seconds_waited_for_images": round(results[0].waited, 1),
            "images_left_out": list(results[0].left_out),
        }
        pairs = list(zip(chunk, results, strict=True))
        if ruined := [run.id for run, result in pairs if result.is_restored]:
            self.progress.said(
                f"training ruined what it started from in {len(ruined)} of {len(chunk)} runs: "
                f"{', '.join(ruined[:3])}{', ...' if len(ruined) > 3 else ''}; the network of the "
                f"best epoch by validation accuracy is kept"
            )
        for run, result in pairs:
            if run.id not in cohort.ids:  # It has a record.
                continue
            row = _row(cohort, run, result, trainer, len(chunk))
            network = _network(cohort, run, result) if self.saving.networks else None
            tested = None if result.diverged else result.predictions
            if tested:
                drawn = resolve.split_seed(run.config)
                tested = dataclasses.replace(
                    tested,
                    class_names=cohort.dataset.class_names,
                    images="" if drawn is None else f"drawn by seed {drawn}",
                )
            records.write(self.workdir, run, row, result.curve, described, network, tested)


def _row(
    cohort: Cohort, run: Run, result: LaneResult, trainer: Trainer, lanes: int
) -> dict[str, Any]:
    return {
        **records.describe(run, cohort),
        "lanes": lanes,
        "status": "diverged" if result.diverged else "done",
        "device": environment.device_name(trainer.layout.devices),
        **result.measures,
        "restored_epoch": result.restored_epoch,
        "seconds": result.seconds,
    }


def _network(cohort: Cohort, run: Run, result: LaneResult) -> Trained:
    """Return a run's network, with the classes and scaling that prediction needs."""
    return Trained(
        spec=resolve.network(run.config, cohort.dataset),
        variables=dict(result.variables),
        class_names=cohort.dataset.class_names,
        scaling=cohort.program.scaling,
        crop_fraction=run.config.data.crop_fraction,
        optimizer=result.optimizer,
    )
