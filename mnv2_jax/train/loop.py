"""Trains a cohort: compiles its programs, runs its epochs, evaluates its lanes."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mnv2_jax.data import pipeline
from mnv2_jax.data.sources import Dataset, Split
from mnv2_jax.train.parallel import Lanes
from mnv2_jax.train.step import EvaluationSums, LaneProgram, LaneValues, State


@dataclasses.dataclass
class LaneResult:
    """What a lane came to.

    Attributes:
      curve: per epoch, its number from 1 and the metrics that metrics.jsonl holds.
      diverged: whether a loss stopped being finite; the measures below are then None.
      train_accuracy: in inference mode on the images as they are, a fraction of 1.
      validation_accuracy: likewise.
      test_accuracy: likewise; the test split is read here alone, after the last epoch.
      test_loss: mean cross-entropy in nats.
      seconds: the lane's share of its cohort's training time, compilation apart.
    """

    curve: list[dict[str, Any]]
    diverged: bool
    train_accuracy: float | None
    validation_accuracy: float | None
    test_accuracy: float | None
    test_loss: float | None
    seconds: float


class CohortTrainer:
    """A cohort's programs, compiled once each, and the state of its lanes.

    Attributes:
      lanes: how the lanes lie on the devices.
    """

    def __init__(
        self, program: LaneProgram, values: Sequence[LaneValues], dataset: Dataset
    ) -> None:
        """Compiles the two programs of a cohort: an epoch of training, a batch of evaluation."""
        self.lanes = Lanes(len(values))
        self._program = program
        self._values = self.lanes.spread(values)
        self._dataset = dataset
        self._initial = _initial_states(program, values)
        states = jax.tree.map(self._with_lanes, self._initial[0])
        train = dataset.train
        batch = pipeline.evaluation_batches(
            dataset.validation, program.recipe.evaluation_batch_size
        )[0]
        self._train_epoch = self.lanes.compile(
            program.train_epoch,
            (states, self._values),
            (np.int32(0), train.images, train.labels),
            donate=True,
        )
        self._evaluate_batch = self.lanes.compile(program.evaluate, (states, self._values), batch)

    def run(self, on_epoch: Callable[[int], None]) -> list[LaneResult]:
        """Trains and evaluates all lanes.

        Args:
          on_epoch: called after each epoch with its number, from 1.
        """
        start = time.perf_counter()
        train, validation = self._dataset.train, self._dataset.validation
        state = self.lanes.spread(self._initial)
        curves: list[list[dict[str, Any]]] = [[] for _ in self._initial]
        for epoch in range(self._program.recipe.epochs):
            state, metrics = self._train_epoch(
                state, self._values, np.int32(epoch), train.images, train.labels
            )
            measured = zip(
                curves, self.lanes.gather(metrics), self._evaluate(state, validation), strict=True
            )
            for curve, trained, (loss, accuracy) in measured:
                curve.append(
                    {
                        "epoch": epoch + 1,
                        "train_loss": float(trained.loss),
                        "train_accuracy": float(trained.accuracy),
                        "validation_loss": loss,
                        "validation_accuracy": accuracy,
                        "learning_rate": float(trained.learning_rate),
                    }
                )
            on_epoch(epoch + 1)
        on_train = self._evaluate(state, train)
        on_test = self._evaluate(state, self._dataset.test)
        seconds = (time.perf_counter() - start) / len(curves)
        return [
            _lane_result(curve, train_measure, test_measure, seconds)
            for curve, train_measure, test_measure in zip(curves, on_train, on_test, strict=True)
        ]

    def _with_lanes(self, leaf: np.ndarray) -> jax.ShapeDtypeStruct:
        shape = (len(self.lanes.devices), self.lanes.per_device, *leaf.shape)
        return jax.ShapeDtypeStruct(shape, leaf.dtype)

    def _evaluate(self, state: State, split: Split) -> list[tuple[float, float]]:
        """Mean loss and accuracy of every lane over every image of a split."""
        size = self._program.recipe.evaluation_batch_size
        pending = [
            self._evaluate_batch(state, self._values, *batch)
            for batch in pipeline.evaluation_batches(split, size)
        ]
        totals = [
            functools.reduce(_add, sums)
            for sums in zip(*(self.lanes.gather(batch) for batch in pending), strict=True)
        ]
        return [
            (float(sums.loss / sums.images), float(sums.correct / sums.images)) for sums in totals
        ]


def _initial_states(program: LaneProgram, values: Sequence[LaneValues]) -> list[State]:
    """Initial states on the host. Lanes of equal seed share one draw, and so start alike."""
    by_seed = {seed: program.initialise(seed) for seed in {int(lane.seed) for lane in values}}
    return [by_seed[int(lane.seed)] for lane in values]


def _lane_result(
    curve: list[dict[str, Any]],
    train: tuple[float, float],
    test: tuple[float, float],
    seconds: float,
) -> LaneResult:
    if not all(math.isfinite(epoch["train_loss"]) for epoch in curve):
        return LaneResult(curve, True, None, None, None, None, seconds)
    return LaneResult(
        curve, False, train[1], curve[-1]["validation_accuracy"], test[1], test[0], seconds
    )


def _add(a: EvaluationSums, b: EvaluationSums) -> EvaluationSums:
    return EvaluationSums(*(x + y for x, y in zip(a, b, strict=True)))
