"""Trains lanes of one program: compiles it, brings it images, runs it epoch by epoch."""

import contextlib
import copy
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mnv2_jax.data.sources import Dataset
from mnv2_jax.metrics import SPLITS
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train import best, parallel, processes
from mnv2_jax.train.best import Best, Losses
from mnv2_jax.train.callbacks import Callback
from mnv2_jax.train.checkpoint import Checkpoint
from mnv2_jax.train.evaluation import Evaluator, Measured
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.input_pipeline import SAMPLE, InputPipeline, StepInputs
from mnv2_jax.train.preemption import Interrupted
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.results import LaneResult, Metrics
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.tuning import Start

_CALL_SECONDS = 1.0
"""The seconds that a call of the training program should take: signals, progress and checkpoints
wait for its end, and each call costs a millisecond."""


class Trainer:
    """The compiled programs of a number of lanes, to train that many or fewer.

    Args:
      program: of one lane; its `axis_size` is replaced by the layout's.
      dataset: the data set to train and evaluate on.
      layout: of the lanes.
      source: the input pipeline.
      workers: processes that decode streamed images.

    Attributes:
      program: the program of a lane.
      layout: of the lanes on the devices.
      bytes: the memory that the programs need, on a device or, on CPU, in the machine.
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
        program = source.adapt(program)
        if program.axis_size != layout.axis_size:  # An equal program keeps what it has traced.
            program = dataclasses.replace(program, axis_size=layout.axis_size)
        self.program = program
        self.dataset = dataset
        self.layout = layout
        self.source = source
        self.workers = workers
        self.abstract_state = program.initialise(0)
        values = layout.shapes(HParams(knobs=Knobs.of_blocks(program.spec.blocks)))
        lanes = (layout.shapes(self.abstract_state), values)
        inputs = source.shapes(program, dataset, layout)
        bounds = layout.replicate((np.int32(0), np.int32(0), np.int32(0)))
        self.train = layout.compile(
            program.train, (*lanes, *inputs.per_lane), (*inputs.shared, *bounds), donate=True
        )
        variables = layout.shapes(self.abstract_state.evaluated)
        self.evaluator = Evaluator(program, dataset, layout, source, (variables, values))
        self._prepared = source.prepare(program, dataset, layout, lanes)
        compiled = (self.train, self.evaluator.compiled, self._prepared)
        self.bytes = max(one.bytes for one in compiled if one)
        if layout.devices[0].platform == "cpu":
            # The devices are one memory, which also holds three copies of the states on the host:
            # those that lanes start from, the same sharded, and a snapshot while it is saved.
            leaves = jax.tree.leaves(self.abstract_state)
            of_state = sum(np.asarray(leaf).nbytes for leaf in leaves)
            self.bytes = self.bytes * len(layout.devices) + 3 * of_state * layout.count

    def is_of(self, program: LaneProgram, layout: parallel.Layout) -> bool:
        """Return whether the programs are those of a lane's program and a layout."""
        own = dataclasses.replace(self.source.adapt(program), axis_size=layout.axis_size)
        sizes = [(one.name, one.count, one.devices) for one in (layout, self.layout)]
        return own == self.program and sizes[0] == sizes[1]

    def with_splits(self, dataset: Dataset) -> "Trainer | None":
        """Return the trainer of the same images in splits drawn by another seed.

        It has the same programs. None if these are other images, or their splits are fixed.
        """
        if dataset.fixed is None or dataset.fixed is not self.dataset.fixed:
            return None
        other = copy.copy(self)
        other.dataset = dataset
        return other

    def pipeline(
        self,
        values: Sequence[HParams],
        lanes: tuple[Any, Any],
        step: int,
        tell: Callable[[str], None],
    ) -> InputPipeline:
        """Start to bring images from a step on; see `InputPipeline` for arguments and errors."""
        return self.source(
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

    def advance(self, lanes: int, state: Any, values: Any, step: int, call: StepInputs) -> Any:
        """Train lanes from `step` to the step before which the call ends; return their states.

        States and hyperparameters are sharded by the layout; the memory of `state` is reused.
        """
        inputs = call.inputs
        bounds = self.layout.replicate((np.int32(step), np.int32(call.stop)))
        arguments = (*inputs.per_lane, *inputs.shared, call.first, *bounds)
        return self.train.run(lanes, state, values, *arguments)

    def run(
        self,
        values: Sequence[HParams],
        callbacks: Sequence[Callback] = (),
        starts: Sequence[Start | None] = (),
        tell: Callable[[str], None] = lambda line: None,
        evaluate_test: bool = True,
    ) -> list[LaneResult]:
        """Train and evaluate lanes, resuming from the checkpoint that a callback restores.

        Args:
          values: each lane's hyperparameters; at most as many lanes as the layout has.
          callbacks: they watch, save and stop the training.
          starts: the state that each lane starts from, where the program tunes trained networks.
          tell: called with a line for the user.
          evaluate_test: measure test images at the end; else they are left unread.

        Raises:
          Interrupted: a callback asked to stop; the state is saved if a callback saves.
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a checkpoint cannot be written, or a file cannot be read.
        """
        run = _Run(self, values, callbacks, starts or [None] * len(values), tell)
        return run.results(SPLITS if evaluate_test else SPLITS[:2])


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
        snapshot = self._restored() or self._initial(values, starts)
        self.step = snapshot.step
        self.is_stopping = False
        self._curves = snapshot.curves
        self._validation: list[Measured] = []  # After the epoch that ended last, if any did here.
        # One for each lane where lanes start from trained networks; else empty.
        self._best: list[Best] = parallel.unstack(snapshot.state.best, self._count)
        self._state = self._layout.shard_lanes(snapshot.state._replace(best=()))
        self._pipeline = trainer.pipeline(values, (self._state, self._values), self.step, tell)
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
        stacked = parallel.stack(self._best) if self._best else ()
        return Checkpoint(self.step, state._replace(best=stacked), self._curves, self.seconds)

    def results(self, splits: Sequence[str]) -> list[LaneResult]:
        """Train to the end, and measure splits; these begin with train and validation."""
        with contextlib.closing(self._pipeline):
            for epoch in range(len(self._curves[0])):
                self._call_on_epoch(epoch + 1, [curve[epoch] for curve in self._curves])
            if self._program.tuning and not self._best:
                validation, train = (_losses(self._evaluate(of)) for of in ("validation", "train"))
                self._best = [
                    Best.create(state, 0, measured, start=loss)
                    for state, measured, (loss, _) in zip(
                        self._states(), validation, train, strict=True
                    )
                ]
            self._train()
            return self._measured(splits)

    def _train(self) -> None:
        if self.step < self.steps:
            self._pipeline.take(self.step, 1)  # Wait for the first images before time is taken.
        for callback in self._callbacks:
            callback.on_step(self)
        steps = 1
        while self.step < self.steps:
            call = self._pipeline.take(self.step, int(processes.from_primary(np.int32(steps))))
            start = time.perf_counter()
            self._state = self._trainer.advance(
                self._count, self._state, self._values, self.step, call
            )
            jax.block_until_ready(self._state)
            seconds = time.perf_counter() - start
            # The first calls are short, since how long a step takes is not known.
            done = call.stop - self.step
            steps = max(1, min(max(steps, 2 * done), int(done * _CALL_SECONDS / seconds)))
            self.step = call.stop
            if self.at_end_of_epoch:
                self._end_epoch()
            self._call_on_step()

    def _call_on_step(self) -> None:
        """Show callbacks the step, and end the training if one asks for it.

        Raises:
          Interrupted: a callback asked for it.
        """
        asked = max((callback.stop_signal() for callback in self._callbacks), default=0)
        signal = processes.max_over_processes(asked)
        # A training that is complete is evaluated and recorded, not stopped.
        self.is_stopping = signal != 0 and self.step < self.steps
        saved = [callback.on_step(self) for callback in self._callbacks]
        if self.is_stopping:
            where = "saved" if any(saved) else "not saved, since there are no checkpoints"
            raise Interrupted(signal, f"step {self.step} of {self.steps} is {where}")

    def _initial(self, values: Sequence[HParams], starts: Sequence[Start | None]) -> Checkpoint:
        """Return the state before the first step; lanes of one seed draw the same weights."""
        initialise = functools.cache(self._program.initialise)
        states = [
            self._program.begin(initialise(int(lane.seed), float(lane.projection_bias)), start)
            for lane, start in zip(values, starts, strict=True)
        ]
        # Only the primary process knows `starts`.
        state = processes.from_primary(parallel.stack(states))
        return Checkpoint(0, state, [[] for _ in values], 0.0)

    def _restored(self) -> Checkpoint | None:
        """Send the checkpoint that the primary process restores to all processes.

        Curves stay with the primary process, the only one that writes them.
        """
        lane = self._trainer.abstract_state
        if self._program.tuning:
            lane = lane._replace(best=Best.create(lane, 0, (0.0, 0.0), start=0.0))
        abstract = jax.tree.map(
            lambda leaf: np.broadcast_to(leaf, (self._count, *np.shape(leaf))), lane
        )
        restored = (callback.restore(abstract) for callback in self._callbacks)
        checkpoint = next((one for one in restored if one is not None), None)
        held = (checkpoint.step, checkpoint.state) if checkpoint else (-1, abstract)
        step, state = processes.from_primary((np.int32(held[0]), held[1]))
        if step < 0:
            return None
        self._tell(f"resuming from step {int(step)} of {self.steps}")
        return checkpoint or Checkpoint(int(step), state, [[] for _ in range(self._count)], 0.0)

    def _end_epoch(self) -> None:
        lanes = self._layout.unstack(self._state.epoch)[: self._count]
        epoch = self.step // self._program.steps_per_epoch
        measured = self._validation = self._evaluate("validation")
        sample = self._evaluate(SAMPLE)
        self._best = best.update(self._best, epoch, _losses(measured), self._states)
        metrics: list[Metrics] = [
            {
                "epoch": epoch,
                "running_loss": float(trained.loss),
                "running_accuracy": float(trained.accuracy),
                **{f"train_{name}": value for name, value in train.metrics.items()},
                **{f"validation_{name}": value for name, value in validation.metrics.items()},
                "learning_rate": float(trained.learning_rate),
            }
            for trained, train, validation in zip(lanes, sample, measured, strict=True)
        ]
        for curve, of_lane in zip(self._curves, metrics, strict=True):
            curve.append(of_lane)
        self._call_on_epoch(epoch, metrics)

    def _call_on_epoch(self, epoch: int, metrics: Sequence[Metrics]) -> None:
        for callback in self._callbacks:
            callback.on_epoch(epoch, metrics)

    def _evaluate(self, split: str) -> list[Measured]:
        """Measure every lane over every image of a split, or of `SAMPLE`."""
        variables, batches = self._state.evaluated, self._pipeline.evaluation(split)
        return self._trainer.evaluator.measure(variables, self._values, batches, self._count)

    def _states(self) -> list[Any]:
        return self._layout.unstack(self._state)[: self._count]

    def _measured(self, splits: Sequence[str]) -> list[LaneResult]:
        """Measure the trained networks, or the best ones where training ruined them."""
        train = self._evaluate("train")
        validation = self._validation or self._evaluate("validation")
        restored = best.to_restore(self._best, _losses(train), self._program.classes)
        if any(restored):
            self._restore(restored)
            train, validation = map(self._evaluate, ("train", "validation"))
        rest = map(self._evaluate, splits[2:])
        by_split = zip(train, validation, *rest, strict=True)
        measured = (dict(zip(splits, of_lane, strict=True)) for of_lane in by_split)
        lanes = zip(self._states(), self._curves, measured, restored, strict=True)
        seconds = self.seconds / self._count
        return [self._result(*lane, seconds) for lane in lanes]

    def _result(
        self,
        state: Any,
        curve: list[Metrics],
        by_split: Mapping[str, Measured],
        restored: Best | None,
        seconds: float,
    ) -> LaneResult:
        diverged = not (restored or all(math.isfinite(epoch["running_loss"]) for epoch in curve))
        measures: dict[str, float] = {}
        for split, measured in by_split.items():
            measures[f"{split}_images"] = measured.images
            for metric in self._program.metrics:
                measures[metric.column(split)] = measured.metrics[metric.name]
        tested = by_split["test"].predictions if "test" in by_split else None
        return LaneResult(
            curve=curve,
            diverged=diverged,
            measures={} if diverged else measures,
            restored_epoch=int(restored.epoch) if restored else None,
            predictions=tested and tested.first(len(self._trainer.dataset.test)),
            seconds=seconds,
            waited=self._pipeline.waited,
            left_out=tuple(sorted(self._pipeline.left_out)),
            variables=state.evaluated.tree,
            optimizer=tuple(jax.tree.leaves(state.opt_state)),
        )

    def _restore(self, restored: Sequence[Best | None]) -> None:
        """Put the best networks back into the lanes that have one here."""
        states = [
            kept.restored(state) if kept else state
            for kept, state in zip(restored, self._states(), strict=True)
        ]
        self._state = self._layout.shard_lanes(parallel.stack(states))


def _losses(measured: Sequence[Measured]) -> Losses:
    return [(of.metrics["loss"], of.metrics["accuracy"]) for of in measured]
