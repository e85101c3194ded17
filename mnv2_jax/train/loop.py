"""Trains lanes of one program: compiles it, runs it epoch by epoch, saves, evaluates."""

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mnv2_jax.data.sources import Dataset
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train import parallel, processes
from mnv2_jax.train.checkpoint import Snapshot
from mnv2_jax.train.features import ClassifierProgram, Features, image_batch
from mnv2_jax.train.feed import Call, Feed, Inputs
from mnv2_jax.train.lane import EvaluationSums, LaneValues
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.results import LaneResult, Metrics
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.stopping import Interrupted
from mnv2_jax.train.streaming import Streaming
from mnv2_jax.train.supervision import Supervision
from mnv2_jax.train.tuning import Start

_CALL_SECONDS = 1.0
"""How long a call of the training program is to take: signals, progress and checkpoints wait for
its end, and calls themselves cost a millisecond."""

_BATCHES_AHEAD = 4


class Trainer:
    """The programs of up to so many lanes, compiled once, to be run for any of them.

    Attributes:
      program: what a lane does.
      layout: how the lanes lie on the devices.
      bytes: what the programs need where memory is shortest: on a device, or in the machine.
    """

    def __init__(
        self,
        program: LaneProgram,
        dataset: Dataset,
        layout: parallel.Layout,
        source: type[Feed] = Resident,
        workers: int = 0,
    ) -> None:
        """Compiles the two programs: some steps of training, a batch of evaluation.

        Args:
          program: of one lane; how many devices share a batch is the layout's to say.
          dataset: what is trained and evaluated on.
          layout: of as many lanes as are to be trained together.
          source: how images come to the devices.
          workers: processes that decode images which are streamed.
        """
        self.layout = layout
        program = source.program(program)
        if program.parts != layout.parts:  # Else what the program has traced is used again.
            program = dataclasses.replace(program, parts=layout.parts)
        self.program = program
        self.dataset = dataset
        self.source = source
        self.workers = workers
        self.like = self.program.initialise(0)
        zero = np.float32(0.0)
        values = LaneValues(
            np.uint32(0), np.uint32(0), Knobs.of("linear", "none"), zero, zero, zero
        )
        lanes = (layout.shapes(self.like), layout.shapes(values))
        given = source.shapes(program, dataset, layout)
        bounds = layout.share((np.int32(0), np.int32(0), np.int32(0)))
        self.train = layout.compile(
            self.program.train, (*lanes, *given.of_lanes), (*given.shared, *bounds), donate=True
        )
        given = source.evaluation_shapes(program, dataset, layout)
        self.evaluate = layout.compile(
            self.program.evaluate, (*lanes, *given.of_lanes), given.shared
        )
        self.bytes = max(self.train.bytes, self.evaluate.bytes)
        if isinstance(self.program, ClassifierProgram):
            images = layout.shapes(image_batch(self.program, dataset, layout))
            self.features = layout.compile(self.program.features, (*lanes, images))
            self.bytes = max(self.bytes, self.features.bytes)
        if layout.devices[0].platform == "cpu":
            # The devices are one memory, which also holds what lies on the host: the states that
            # lanes start from, these laid out, and a copy of them while it is saved.
            of_states = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(self.like))
            self.bytes = self.bytes * len(layout.devices) + 3 * of_states * layout.count

    def feed(
        self,
        values: Sequence[LaneValues],
        lanes: tuple[Any, Any],
        step: int,
        tell: Callable[[str], None],
    ) -> Feed:
        """What lanes are given from a step on.

        Args:
          values: of each lane.
          lanes: states and values as the layout spreads them.
          step: what training begins with, or goes on from.
          tell: called with a line for people.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a file cannot be read.
        """
        seeds = [int(lane.data_seed) for lane in values]
        parts = self.program, self.dataset, self.layout
        if self.source is Resident:
            return Resident(*parts, seeds, tell)
        if self.source is Features:

            def of_lanes(images: np.ndarray) -> np.ndarray:
                dealt = self.layout.deal_to_lanes(images)
                return self.layout.collect(self.features.run(*lanes, dealt))[: len(values)]

            return Features(*parts, seeds, self._bases(values, lanes[0]), of_lanes, tell)
        (seed,) = set(seeds)
        return Streaming(*parts, seed, step, self.workers, tell)

    def _bases(self, values: Sequence[LaneValues], state: Any) -> list[str]:
        """What features follow from, beside images: equal texts for lanes of the same base."""
        size = self.program.partition.frozen.size
        frozen = np.asarray(state.frozen).reshape(-1, size)  # By lanes; what fills up comes last.
        return [
            f"{hashlib.sha256(of_lane.tobytes()).hexdigest()} {lane.knobs}"
            for of_lane, lane in zip(frozen, values, strict=False)
        ]

    def advance(self, state: Any, values: Any, step: int, call: Call) -> Any:
        """Trains lanes from a step to that before which the call ends; gives their states.

        States and values lie as the layout spreads them; the former's memory is used again.
        """
        given = call.inputs
        bounds = self.layout.share((np.int32(step), np.int32(call.stop)))
        return self.train.run(state, values, *given.of_lanes, *given.shared, call.first, *bounds)

    def sums(self, state: Any, values: Any, batch: Inputs) -> Any:
        """Evaluates lanes on a batch; see `mnv2_jax.train.step.LaneProgram.evaluate`."""
        return self.evaluate.run(state, values, *batch.of_lanes, *batch.shared)

    def run(
        self,
        values: Sequence[LaneValues],
        supervision: Supervision | None = None,
        starts: Sequence[Start | None] = (),
    ) -> list[LaneResult]:
        """Trains and evaluates lanes, going on from the latest sound checkpoint.

        Args:
          values: of each lane; at most as many as the layout has.
          supervision: how it is watched, saved and stopped.
          starts: what each lane starts from, where the program tunes trained networks.

        Raises:
          Interrupted: a signal came; what was trained is saved, if there are checkpoints.
          OSError: a checkpoint cannot be written.
        """
        watch = supervision or Supervision()
        with watch.stop.postponed():
            return _Training(self, values, watch, starts or [None] * len(values)).run()


class _Training:
    """One run of a trainer."""

    def __init__(
        self,
        trainer: Trainer,
        values: Sequence[LaneValues],
        watch: Supervision,
        starts: Sequence[Start | None],
    ) -> None:
        self._trainer = trainer
        self._program = trainer.program
        self._layout = trainer.layout
        self._watch = watch
        self._count = len(values)
        self._values = self._layout.place(self._layout.spread(parallel.stack(values)))
        snapshot = self._restored() or self._fresh(values, starts)
        self._step = snapshot.step
        self._curves = snapshot.curves
        self._state = self._layout.spread(snapshot.state)
        lanes = self._state, self._values
        self._feed = trainer.feed(values, lanes, self._step, watch.tell)
        self._saved = time.perf_counter()
        self._began = self._saved - snapshot.seconds

    def run(self) -> list[LaneResult]:
        """See `Trainer.run`."""
        with contextlib.closing(self._feed):
            return self._run()

    def _run(self) -> list[LaneResult]:
        for epoch in range(len(self._curves[0])):
            self._watch.on_epoch(epoch + 1, [curve[epoch] for curve in self._curves])
        if self._step < self._program.steps:
            self._feed.take(self._step, 1)  # The first images are there before time is taken.
        self._watch.on_step(self._step)
        per_epoch = self._program.steps_per_epoch
        steps = 1
        while self._step < self._program.steps:
            call = self._feed.take(self._step, int(processes.from_primary(np.int32(steps))))
            start = time.perf_counter()
            self._state = self._trainer.advance(self._state, self._values, self._step, call)
            jax.block_until_ready(self._state)
            seconds = time.perf_counter() - start
            # The first calls are short, since how long a step takes is not known.
            done = call.stop - self._step
            steps = max(1, min(max(steps, 2 * done), int(done * _CALL_SECONDS / seconds)))
            self._step = call.stop
            ended = self._step % per_epoch == 0
            if ended:
                self._end_epoch()
            self._watch.on_step(self._step)
            self._save(at_end_of_epoch=ended)
        return self._results()

    def _fresh(self, values: Sequence[LaneValues], starts: Sequence[Start | None]) -> Snapshot:
        """Before the first step. Lanes of equal seed share one draw, and so start alike."""
        initialise = functools.cache(self._program.initialise)
        drawn = [initialise(int(lane.seed)) for lane in values]
        begun = [
            self._program.begin(state, start) for state, start in zip(drawn, starts, strict=True)
        ]
        return Snapshot(0, parallel.stack(begun), [[] for _ in values], 0.0)

    def _restored(self) -> Snapshot | None:
        """What the primary process finds, in all processes; curves are for it alone to write."""
        like = jax.tree.map(
            lambda leaf: np.broadcast_to(leaf, (self._count, *np.shape(leaf))), self._trainer.like
        )
        checkpoints = self._watch.checkpoints
        found = checkpoints.restore(like, self._watch.tell) if checkpoints else None
        step, state = processes.from_primary(
            (np.int32(found.step if found else -1), found.state if found else like)
        )
        if step < 0:
            return None
        self._watch.tell(f"goes on from step {int(step)} of {self._program.steps}")
        return found or Snapshot(int(step), state, [[] for _ in range(self._count)], 0.0)

    def _end_epoch(self) -> None:
        lanes = self._layout.gather(self._state.epoch)[: self._count]
        epoch = self._step // self._program.steps_per_epoch
        metrics: list[Metrics] = [
            {
                "epoch": epoch,
                "train_loss": float(trained.loss),
                "train_accuracy": float(trained.accuracy),
                "validation_loss": loss,
                "validation_accuracy": accuracy,
                "learning_rate": float(trained.learning_rate),
            }
            for trained, (loss, accuracy) in zip(lanes, self._evaluate("validation"), strict=True)
        ]
        for curve, of_lane in zip(self._curves, metrics, strict=True):
            curve.append(of_lane)
        self._watch.on_epoch(epoch, metrics)

    def _evaluate(self, split: str) -> list[tuple[float, float]]:
        """Mean loss and accuracy of every lane over every image of a split."""
        pending: list[Any] = []
        for batch in self._feed.evaluation(split):
            pending.append(self._trainer.sums(self._state, self._values, batch))
            # Enough to keep devices busy; more would hold on to their images.
            jax.block_until_ready(pending[-_BATCHES_AHEAD:][0])
        of_lanes = zip(*(self._layout.gather(batch) for batch in pending), strict=True)
        totals = [functools.reduce(_add, sums) for sums in of_lanes][: self._count]
        return [
            (float(sums.loss / sums.images), float(sums.correct / sums.images)) for sums in totals
        ]

    def _save(self, *, at_end_of_epoch: bool) -> None:
        """Saves if it is time to, or if a signal came, which ends the training."""
        watch = self._watch
        done = self._step == self._program.steps
        signal = processes.of_any_process(watch.stop.signal)
        due = watch.checkpoint_seconds * (1 if at_end_of_epoch else 2)
        waited = time.perf_counter() - self._saved >= due
        # What is complete is evaluated and recorded, not stopped.
        stopping = signal != 0 and not done
        if watch.checkpoints and (stopping or (watch.save_last if done else waited)):
            accuracies = [curve[-1]["validation_accuracy"] for curve in self._curves if curve]
            state = self._layout.collect(self._state)
            watch.checkpoints.save(
                Snapshot(
                    self._step,
                    jax.tree.map(lambda leaf: leaf[: self._count], state),
                    self._curves,
                    time.perf_counter() - self._began,
                ),
                float(np.mean(accuracies)) if at_end_of_epoch else None,
            )
            self._saved = time.perf_counter()
            if stopping or done:
                watch.checkpoints.wait()
        if stopping:
            where = "saved" if watch.checkpoints else "not saved, since there are no checkpoints"
            raise Interrupted(signal, f"step {self._step} of {self._program.steps} is {where}")

    def _results(self) -> list[LaneResult]:
        on_train, on_test = (self._evaluate(split) for split in ("train", "test"))
        seconds = (time.perf_counter() - self._began) / self._count
        left_out = tuple(sorted(self._feed.left_out))
        states = self._layout.gather(self._state)[: self._count]
        return [
            LaneResult.of(
                *(curve, train, test),
                seconds=seconds,
                waited=self._feed.waited,
                left_out=left_out,
                variables=self._program.evaluated_variables(state),
                optimizer=tuple(jax.tree.leaves(state.optimizer)),
            )
            for state, curve, train, test in zip(
                states, self._curves, on_train, on_test, strict=True
            )
        ]


def _add(a: EvaluationSums, b: EvaluationSums) -> EvaluationSums:
    return EvaluationSums(*(x + y for x, y in zip(a, b, strict=True)))
