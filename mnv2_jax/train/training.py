"""One run of a trainer: epoch by epoch, with what is saved, told and measured on the way."""

import contextlib
import functools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from mnv2_jax.train import parallel, processes
from mnv2_jax.train.best import Best
from mnv2_jax.train.checkpoint import Snapshot
from mnv2_jax.train.lane import EvaluationSums, LaneValues
from mnv2_jax.train.results import LaneResult, Metrics
from mnv2_jax.train.stopping import Interrupted
from mnv2_jax.train.supervision import Supervision
from mnv2_jax.train.tuning import Start

if TYPE_CHECKING:
    from mnv2_jax.train.loop import Trainer

_CALL_SECONDS = 1.0
"""How long a call of the training program is to take: signals, progress and checkpoints wait for
its end, and calls themselves cost a millisecond."""

_BATCHES_AHEAD = 4


class Training:
    """One run of a trainer."""

    def __init__(
        self,
        trainer: "Trainer",
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
        # One for each lane that starts from a trained network, from the first step on.
        self._best: list[Best] = parallel.unstack(snapshot.state.best, self._count)
        self._state = self._layout.spread(snapshot.state._replace(best=()))
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
        if self._program.tuning and not self._best:
            self._best = self._at_start()
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
        # What lanes start from is known where records are written.
        state = processes.from_primary(parallel.stack(begun))
        return Snapshot(0, state, [[] for _ in values], 0.0)

    def _at_start(self) -> list[Best]:
        """What lanes are given, before the first step."""
        measured = self._evaluate("validation"), self._evaluate("train")
        states = self._layout.gather(self._state)[: self._count]
        return [
            Best.of(state, 0, validation, start=loss)
            for state, validation, (loss, _) in zip(states, *measured, strict=True)
        ]

    def _keep_best(self, epoch: int, measured: Sequence[tuple[float, float]]) -> None:
        """Takes note of the lanes whose loss and accuracy on the validation split are the best."""
        pairs = list(zip(self._best, measured, strict=True))
        if not any(best.is_beaten_by(validation) for best, validation in pairs):
            return
        states = self._layout.gather(self._state)[: self._count]
        self._best = [
            Best.of(state, epoch, validation, start=float(best.start))
            if best.is_beaten_by(validation)
            else best
            for state, (best, validation) in zip(states, pairs, strict=True)
        ]

    def _restored(self) -> Snapshot | None:
        """What the primary process finds, in all processes; curves are for it alone to write."""
        lane = self._trainer.like
        if self._program.tuning:
            lane = lane._replace(best=Best.of(lane, 0, (0.0, 0.0), start=0.0))
        like = jax.tree.map(
            lambda leaf: np.broadcast_to(leaf, (self._count, *np.shape(leaf))), lane
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
        measured = self._evaluate("validation")
        if self._best:
            self._keep_best(epoch, measured)
        metrics: list[Metrics] = [
            {
                "epoch": epoch,
                "train_loss": float(trained.loss),
                "train_accuracy": float(trained.accuracy),
                "validation_loss": loss,
                "validation_accuracy": accuracy,
                "learning_rate": float(trained.learning_rate),
            }
            for trained, (loss, accuracy) in zip(lanes, measured, strict=True)
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
            best = parallel.stack(self._best) if self._best else ()
            watch.checkpoints.save(
                Snapshot(
                    self._step,
                    jax.tree.map(lambda leaf: leaf[: self._count], state)._replace(best=best),
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
        on_train = self._evaluate("train")
        restored = self._restore_ruined(on_train)
        if any(restored):
            on_train = self._evaluate("train")
        on_test = self._evaluate("test")
        seconds = (time.perf_counter() - self._began) / self._count
        left_out = tuple(sorted(self._feed.left_out))
        states = self._layout.gather(self._state)[: self._count]
        return [
            LaneResult.of(
                *(curve, train, test, best),
                seconds=seconds,
                waited=self._feed.waited,
                left_out=left_out,
                variables=self._program.evaluated_variables(state),
                optimizer=tuple(jax.tree.leaves(state.optimizer)),
            )
            for state, curve, train, test, best in zip(
                states, self._curves, on_train, on_test, restored, strict=True
            )
        ]

    def _restore_ruined(self, on_train: Sequence[tuple[float, float]]) -> list[Best | None]:
        """Puts the best network back into lanes that training ruined; None for the others."""
        if not self._best:
            return [None] * self._count
        restored = [
            best if best.is_needed(loss, self._program.classes) else None
            for best, (loss, _) in zip(self._best, on_train, strict=True)
        ]
        if any(restored):
            states = [
                best.restored(state) if best else state
                for best, state in zip(
                    restored, self._layout.gather(self._state)[: self._count], strict=True
                )
            ]
            self._state = self._layout.spread(parallel.stack(states))
        return restored


def _add(a: EvaluationSums, b: EvaluationSums) -> EvaluationSums:
    return EvaluationSums(*(x + y for x, y in zip(a, b, strict=True)))
