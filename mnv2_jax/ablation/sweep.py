"""Runs a grid: cohort by cohort, skipping what is finished, recording each chunk as it ends."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import jax

from mnv2_jax import atomic
from mnv2_jax.ablation import chunks, finished, records, resolve
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.ablation.heartbeat import Heartbeat
from mnv2_jax.ablation.pretrained import NotTrained, PretrainedLoader, PretrainedWeights
from mnv2_jax.nn.trained import Trained
from mnv2_jax.train import callbacks as cb
from mnv2_jax.train import environment, processes
from mnv2_jax.train.checkpoint import Checkpoints
from mnv2_jax.train.loop import Trainer
from mnv2_jax.train.preemption import Interrupted, StopRequest
from mnv2_jax.train.results import LaneResult

# What XLA and NumPy raise when a program does not compile or does not fit, and where a run starts
# from one that failed so. Anything else is a fault of this code, and ends the sweep.
_COHORT_ERRORS = (jax.errors.JaxRuntimeError, MemoryError, NotTrained)


class Progress(Protocol):
    """The messages of a sweep while it works."""

    def cohort_started(self, number: int, of: int, cohort: Cohort) -> None:
        """Hear that a cohort is next; its programs are being compiled, if they are not ready."""

    def chunk_started(self, cohort: Cohort, lanes: int) -> None:
        """Hear that programs are ready, and the training of so many lanes of a cohort begins."""

    def trained(self, cohort: Cohort, lanes: int, step: int) -> None:
        """So many lanes have done so many steps; the first call tells where they begin."""

    def cohort_failed(self, cohort: Cohort, error: str) -> None:
        """Hear that a cohort ended with an error; the sweep goes on."""

    def said(self, line: str) -> None:
        """Something worth a line: a choice that was made, a checkpoint that is passed over."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a sweep.

    Attributes:
      trained: runs trained now to their end, not found finished.
      failed: runs whose cohort ended with an error.
    """

    trained: int
    failed: int


@dataclasses.dataclass(frozen=True)
class Saving:
    """Times of checkpoints: when they are written, and how long they stay.

    Attributes:
      seconds: see `mnv2_jax.train.callbacks.Checkpointing`.
      keep: save the last step as well, and leave the checkpoints of finished runs.
      networks: put the trained network into the record of each run.
    """

    seconds: float = 60.0
    keep: bool = False
    networks: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.seconds, (int, float)) and self.seconds >= 0):
            raise ValueError(f"checkpoint_seconds={self.seconds!r}: expected a number, 0 or more")


def write_table(workdir: Path, cohorts: Sequence[Cohort]) -> list[dict[str, Any]]:
    """Write and give the rows of results.csv, of what is finished by now or failed.

    Of processes that train parts of a grid side by side, the last one sees all.
    """
    with atomic.in_turns(workdir / ".results.lock"):
        rows = records.rows(workdir, cohorts)
        measured = records.measured_of([run for cohort in cohorts for run in cohort.runs])
        records.write_table(workdir, rows, measured)
    return rows


@dataclasses.dataclass
class Sweep:
    """The training of every run that is not finished.

    While a cohort trains, the next ones compile: compilation leaves cores idle, which training
    takes up. A cohort that fails does not stop the others; its runs are tried again next time.
    Of processes that train together, the primary one alone writes.

    Attributes:
      workdir: the experiment's folder; see `mnv2_jax.ablation.records`.
      cohorts: what is to be trained.
      command: the command line, for the records.
      progress: is told what happens.
      stop: signals that are to end it.
      saving: by default checkpoints once a minute, removed with their cohort.
      workers: processes that decode images which are streamed.
      recorded: called after each cohort, when its records are written; of processes that train
        together, by the primary one.
      given: a base that runs start from.
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

    def __post_init__(self) -> None:
        self._pretrained = PretrainedLoader(self.workdir, self.given)
        self._failed = 0

    def run(self) -> Outcome:
        """Train them.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          Interrupted: a signal came; training goes on where it stopped when it is run again.
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
                        raise  # The others wait for this process in vain, and are to be told.
                    message = " ".join(str(error).split()) or type(error).__name__
                    self.progress.cohort_failed(cohort, message)
                    self._failed += finished.note_failure(self.workdir, cohort, message)
                if processes.is_primary():
                    self.recorded()
        finally:
            # A compilation in progress cannot be stopped, and is not waited for.
            compiler.shutdown(wait=False, cancel_futures=True)
        trained = sum(len(cohort.runs) for cohort in todo)
        return Outcome(trained=trained - self._failed, failed=self._failed)

    def _compile(self, cohort: Cohort) -> tuple[Trainer, list[str]]:
        notes: list[str] = []
        _, size = chunks.Unfinished(self.workdir, cohort).chunk(cohort.runs)
        whole = chunks.split(cohort.runs, len(cohort.runs), cohort.feed()[0])
        lanes = size or max(map(len, whole))
        trainer = chunks.trainer_of(cohort, lanes, self.workers, notes.append)
        # What training begins with: found here, while the cohort before is in training.
        _ = cohort.network_fingerprint
        return trainer, notes

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
            with self.stop.postponed():  # Until there are records.
                try:
                    results = self._train_pack(cohort, queue[0], trainer, unfinished)
                except _COHORT_ERRORS as error:
                    fewer = chunks.halved(trainer.layout.count, error)
                else:
                    self._record(cohort, queue.pop(0), results, trainer, notes)
            if fewer:
                notes.append(f"out of memory training {trainer.layout.count} lanes; trying {fewer}")
                self.progress.said(notes[-1])
                del trainer  # Frees its memory before another is compiled.
                trainer = chunks.trainer_of(cohort, fewer, self.workers, notes.append)
                runs = [run for part in queue for run in part if run.id in cohort.ids]
                queue = chunks.split(runs, trainer.layout.count, trainer.source)
            elif self.stop.signal:
                raise Interrupted(self.stop.signal, "what was in training is finished")
        if processes.is_primary() and not self.saving.keep:
            unfinished.remove()

    def _train_pack(
        self, cohort: Cohort, chunk: chunks.Chunk, trainer: Trainer, unfinished: chunks.Unfinished
    ) -> list[LaneResult]:
        primary = processes.is_primary()
        starts = [self._pretrained.load(run, cohort) if primary else None for run in chunk]
        lacking = [run.id for run in chunk if run.id in cohort.ids]
        self.progress.chunk_started(cohort, len(lacking))
        values = [run.values for run in chunk]
        life = Heartbeat(self.workdir, cohort.id, str(cohort), lacking)

        def on_step(step: int) -> None:
            if primary:
                life.beat(step, cohort.program.steps)
            self.progress.trained(cohort, len(lacking), step)

        callbacks: list[cb.Callback] = [cb.Progress(on_step), cb.Preemption(self.stop)]
        tell = self.progress.said
        if not primary:
            return trainer.run(values, callbacks, starts, tell)
        unfinished.begin(chunk, trainer.layout.count)
        identity = {
            "runs": [run.id for run in chunk],
            "network": cohort.network_fingerprint,
            "data": cohort.dataset.fingerprint,
            "jax": jax.__version__,
            # Curves hold them, by epoch.
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
                return trainer.run(values, callbacks, starts, tell)
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
        if ruined := [run.id for run, one in zip(chunk, results, strict=True) if one.is_restored]:
            self.progress.said(
                f"training ruined what it started from in {len(ruined)} of {len(chunk)} runs: "
                f"{', '.join(ruined[:3])}{', ...' if len(ruined) > 3 else ''}; the network of the "
                f"best epoch by validation accuracy is kept"
            )
        for run, result in zip(chunk, results, strict=True):
            if run.id not in cohort.ids:  # It has a record.
                continue
            row = _row(cohort, run, result, trainer, len(chunk))
            network = _network(cohort, run, result) if self.saving.networks else None
            records.write(self.workdir, run, row, result.curve, described, network)


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
    """Return a run's network, with what it takes to use it."""
    return Trained(
        spec=resolve.network(run.config, cohort.dataset),
        variables=dict(result.variables),
        class_names=cohort.dataset.class_names,
        scaling=cohort.program.scaling,
        crop_fraction=run.config.data.crop_fraction,
        optimizer=result.optimizer,
    )
