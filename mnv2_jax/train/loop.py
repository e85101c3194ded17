"""Trains lanes of one program: compiles it, brings it images, runs it epoch by epoch."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mnv2_jax.data.sources import Dataset
from mnv2_jax.metrics import SPLITS
from mnv2_jax.train import best, parallel, processes
from mnv2_jax.train.best import Best, Losses
from mnv2_jax.train.callbacks import Callback
from mnv2_jax.train.checkpoint import Checkpoint
from mnv2_jax.train.evaluation import Evaluator
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.input_pipeline import InputPipeline, PipelineArgs, StepInputs
from mnv2_jax.train.preemption import Interrupted
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.results import LaneResult, Metrics
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.tuning import Start

_CALL_SECONDS = 1.0
"""The seconds that a call of the training program is to take: signals, progress and checkpoints
wait for its end, and calls themselves cost a millisecond."""


class Trainer:
    """The programs of up to so many lanes, compiled once, to be run for any of them.

    Attributes:
      program: what a lane does.
      layout: how the lanes lie on the devices.
      bytes: what the programs need where memory is shortest: on a device, or in the machine.
      evaluator: the program that evaluates.
    """

    def __init__(
        self,
        program: LaneProgram,
        dataset: Dataset,
        layout: parallel.Layout,
        source: type[InputPipeline] = Resident,
        workers: int = 0,
    ) -> None:
        """Compile the programs: steps of training, a batch of evaluation, what the feed needs.

        Args:
          program: of one lane; how many devices share a batch is the layout's to say.
          dataset: what is trained and evaluated on.
          layout: of as many lanes as are to be trained together.
          source: how images come to the devices.
          workers: processes that decode images which are streamed.
        """
        self.layout = layout
        program = source.program(program)
        if program.axis_size != layout.axis_size:  # Else what the program has traced is used again.
            program = dataclasses.replace(program, axis_size=layout.axis_size)
        self.program = program
        self.dataset = dataset
        self.source = source
        self.workers = workers
        self.abstract_state = self.program.initialise(0)
        values = layout.shapes(HParams.example())
        lanes = (layout.shapes(self.abstract_state), values)
        given = source.shapes(program, dataset, layout)
        bounds = layout.replicate((np.int32(0), np.int32(0), np.int32(0)))
        self.train = layout.compile(
            self.program.train, (*lanes, *given.of_lanes), (*given.shared, *bounds), donate=True
        )
        variables = layout.shapes(self.abstract_state.evaluated)
        self.evaluator = Evaluator(program, dataset, layout, source, (variables, values))
        self.bytes = max(self.train.bytes, self.evaluator.compiled.bytes)
        self._prepared = source.prepare(self.program, dataset, layout, lanes)
        if self._prepared:
            self.bytes = max(self.bytes, self._prepared.bytes)
        if layout.devices[0].platform == "cpu":
            # The devices are one memory, which also holds what lies on the host: the states that
            # lanes start from, these laid out, and a copy of them while it is saved.
            of_states = sum(
                np.asarray(leaf).nbytes for leaf in jax.tree.leaves(self.abstract_state)
            )
            self.bytes = self.bytes * len(layout.devices) + 3 * of_states * layout.count

    def feed(
        self,
        values: Sequence[HParams],
        lanes: tuple[Any, Any],
        step: int,
        tell: Callable[[str], None],
    ) -> InputPipeline:
        """Begin to bring images from a step on.

        Args:
          values: of each lane.
          lanes: states and hyperparameters as the layout spreads them.
          step: what training begins with, or goes on from.
          tell: called with a line for people.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a file cannot be read.
        """
        return self.source.begin(
            PipelineArgs(
                program=self.program,
                dataset=self.dataset,
                layout=self.layout,
                values=values,
                lanes=lanes,
                step=step,
                workers=self.workers,
                prepared=self._prepared,
                tell=tell,
            )
        )

    def advance(self, state: Any, values: Any, step: int, call: StepInputs) -> Any:
        """Train lanes from a step to that before which the call ends; return their states.

        States and hyperparameters lie as the layout spreads them; the former's memory is used
        again.
        """
        given = call.inputs
        bounds = self.layout.replicate((np.int32(step), np.int32(call.stop)))
        return self.train.run(state, values, *given.of_lanes, *given.shared, call.first, *bounds)

    def run(
        self,
        values: Sequence[HParams],
        callbacks: Sequence[Callback] = (),
        starts: Sequence[Start | None] = (),
        tell: Callable[[str], None] = lambda line: None,
    ) -> list[LaneResult]:
        """Train and evaluate lanes, going on from what a callback restores.

        Args:
          values: of each lane; at most as many as the layout has.
          callbacks: what watches, saves and stops it.
          starts: what each lane starts from, where the program tunes trained networks.
          tell: called with a line for people.

        Raises:
          Interrupted: a callback asked to stop; what was trained is saved, if one saves.
          OSError: a checkpoint cannot be written.
        """
        return _Run(self, values, callbacks, starts or [None] * len(values), tell).results()


class _Run:
    """One run of a trainer's lanes; the `View` that callbacks are given."""

    def __init__(
        self,
        trainer: Trainer,
        values: Sequence[HParams],
        callbacks: Sequence[Callback],
        starts: Sequence[Start | None],
        tell: Callable[[str], None],
    ) -> None:
        self._trainer = trainer
        self._program = trainer.program
        self._layout = trainer.layout
        self._callbacks = callbacks
        self._tell = tell
        self._count = len(values)
        self._values = self._layout.device_put(self._layout.shard_lanes(parallel.stack(values)))
        self.steps = self._program.steps
        snapshot = self._restored() or self._fresh(values, starts)
        self.step = snapshot.step
        self.is_stopping = False
        self._curves = snapshot.curves
        # One for each lane that starts from a trained network, from the first step on.
        self._best: list[Best] = parallel.unstack(snapshot.state.best, self._count)
        self._state = self._layout.shard_lanes(snapshot.state._replace(best=()))
        self._feed = trainer.feed(values, (self._state, self._values), self.step, tell)
        self._began = time.perf_counter() - snapshot.seconds

    @property
    def at_end_of_epoch(self) -> bool:
        """See `View`."""
        return self.step > 0 and self.step % self._program.steps_per_epoch == 0

    @property
    def validation_accuracy(self) -> float | None:
        """See `View`."""
        if not self.at_end_of_epoch:
            return None
        return float(np.mean([curve[-1]["validation_accuracy"] for curve in self._curves]))

    @property
    def seconds(self) -> float:
        """See `View`."""
        return time.perf_counter() - self._began

    def snapshot(self) -> Checkpoint:
        """See `View`."""
        state = jax.tree.map(lambda leaf: leaf[: self._count], self._layout.collect(self._state))
        of_lanes = parallel.stack(self._best) if self._best else ()
        return Checkpoint(self.step, state._replace(best=of_lanes), self._curves, self.seconds)

    def results(self) -> list[LaneResult]:
        """Train to the end, and measure."""
        with contextlib.closing(self._feed):
            for epoch in range(len(self._curves[0])):
                self._tell_epoch(epoch + 1, [curve[epoch] for curve in self._curves])
            if self._program.tuning and not self._best:
                measured = (_losses(self._evaluate(split)) for split in ("validation", "train"))
                self._best = best.at_start(self._states(), *measured)
            self._train()
            return self._results()

    def _train(self) -> None:
        if self.step < self.steps:
            self._feed.take(self.step, 1)  # The first images are there before time is taken.
        for callback in self._callbacks:
            callback.on_step(self)
        steps = 1
        while self.step < self.steps:
            call = self._feed.take(self.step, int(processes.from_primary(np.int32(steps))))
            start = time.perf_counter()
            self._state = self._trainer.advance(self._state, self._values, self.step, call)
            jax.block_until_ready(self._state)
            seconds = time.perf_counter() - start
            # The first calls are short, since how long a step takes is not known.
            done = call.stop - self.step
            steps = max(1, min(max(steps, 2 * done), int(done * _CALL_SECONDS / seconds)))
            self.step = call.stop
            if self.at_end_of_epoch:
                self._end_epoch()
            self._look_around()

    def _look_around(self) -> None:
        """Let callbacks see the step; end the training if one asks for it."""
        asked = max((callback.stop_signal() for callback in self._callbacks), default=0)
        signal = processes.of_any_process(asked)
        # What is complete is evaluated and recorded, not stopped.
        self.is_stopping = signal != 0 and self.step < self.steps
        saved = [callback.on_step(self) for callback in self._callbacks]
        if self.is_stopping:
            where = "saved" if any(saved) else "not saved, since there are no checkpoints"
            raise Interrupted(signal, f"step {self.step} of {self.steps} is {where}")

    def _fresh(self, values: Sequence[HParams], starts: Sequence[Start | None]) -> Checkpoint:
        """Begin before the first step. Lanes of equal seed share one draw, and so start alike."""
        initialise = functools.cache(self._program.initialise)
        drawn = [initialise(int(lane.seed)) for lane in values]
        begun = [
            self._program.begin(state, start) for state, start in zip(drawn, starts, strict=True)
        ]
        # What lanes start from is known where records are written.
        state = processes.from_primary(parallel.stack(begun))
        return Checkpoint(0, state, [[] for _ in values], 0.0)

    def _restored(self) -> Checkpoint | None:
        """Take what the primary process finds to all processes; it alone writes the curves."""
        lane = self._trainer.abstract_state
        if self._program.tuning:
            lane = lane._replace(best=Best.create(lane, 0, (0.0, 0.0), start=0.0))
        abstract = jax.tree.map(
            lambda leaf: np.broadcast_to(leaf, (self._count, *np.shape(leaf))), lane
        )
        restored = (callback.restore(abstract) for callback in self._callbacks)
        found = next((one for one in restored if one is not None), None)
        step, state = processes.from_primary(
            (np.int32(found.step if found else -1), found.state if found else abstract)
        )
        if step < 0:
            return None
        self._tell(f"goes on from step {int(step)} of {self.steps}")
        return found or Checkpoint(int(step), state, [[] for _ in range(self._count)], 0.0)

    def _end_epoch(self) -> None:
        lanes = self._layout.unstack(self._state.epoch)[: self._count]
        epoch = self.step // self._program.steps_per_epoch
        measured = self._evaluate("validation")
        self._best = best.kept(self._best, epoch, _losses(measured), self._states)
        metrics: list[Metrics] = [
            {
                "epoch": epoch,
                "train_loss": float(trained.loss),
                "train_accuracy": float(trained.accuracy),
                "validation_loss": validation["loss"],
                "validation_accuracy": validation["accuracy"],
                **{f"validation_{name}": value for name, value in validation.items()},
                "learning_rate": float(trained.learning_rate),
            }
            for trained, validation in zip(lanes, measured, strict=True)
        ]
        for curve, of_lane in zip(self._curves, metrics, strict=True):
            curve.append(of_lane)
        self._tell_epoch(epoch, metrics)

    def _tell_epoch(self, epoch: int, metrics: Sequence[Metrics]) -> None:
        for callback in self._callbacks:
            callback.on_epoch(epoch, metrics)

    def _evaluate(self, split: str) -> list[dict[str, float]]:
        """Measure every lane over every image of a split."""
        variables, batches = self._state.evaluated, self._feed.evaluation(split)
        return self._trainer.evaluator.measure(variables, self._values, batches, self._count)

    def _states(self) -> list[Any]:
        return self._layout.unstack(self._state)[: self._count]

    def _results(self) -> list[LaneResult]:
        names = [metric.name for metric in self._program.metrics]
        validation = [
            {name: curve[-1][f"validation_{name}"] for name in names} for curve in self._curves
        ]
        train = self._evaluate("train")
        restored = best.ruined(self._best, _losses(train), self._program.classes)
        if any(restored):
            self._restore(restored)
            train = self._evaluate("train")
            again = zip(restored, self._evaluate("validation"), validation, strict=True)
            validation = [new if one else old for one, new, old in again]
        measured = zip(train, validation, self._evaluate("test"), strict=True)
        common = {
            "seconds": self.seconds / self._count,
            "waited": self._feed.waited,
            "left_out": tuple(sorted(self._feed.left_out)),
        }
        return [
            LaneResult.create(
                curve,
                self._measures(*of_splits),
                one,
                **common,
                variables=state.evaluated.tree,
                optimizer=tuple(jax.tree.leaves(state.opt_state)),
            )
            for state, curve, of_splits, one in zip(
                self._states(), self._curves, measured, restored, strict=True
            )
        ]

    def _measures(self, *by_split: Mapping[str, float]) -> dict[str, float]:
        """Name measures of the splits as columns of results.csv."""
        return {
            metric.column(split): measured[metric.name]
            for split, measured in zip(SPLITS, by_split, strict=True)
            for metric in self._program.metrics
        }

    def _restore(self, restored: Sequence[Best | None]) -> None:
        """Put the best networks back into the lanes that have one here."""
        states = [
            one.restored(state) if one else state
            for one, state in zip(restored, self._states(), strict=True)
        ]
        self._state = self._layout.shard_lanes(parallel.stack(states))


def _losses(measured: Sequence[Mapping[str, float]]) -> Losses:
    return [(one["loss"], one["accuracy"]) for one in measured]
