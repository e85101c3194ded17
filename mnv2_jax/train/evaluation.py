"""Evaluates networks on a split: any variables, by any metrics, exactly on the last batch."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mnv2_jax.data.images import Images
from mnv2_jax.data.sources import Dataset
from mnv2_jax.predictions import Predictions
from mnv2_jax.train import memory, parallel, streaming
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.input_pipeline import InputPipeline, Inputs
from mnv2_jax.train.parallel import Lanes, Layout
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.streaming import Streaming

_BATCHES_AHEAD = 4


class Measured(NamedTuple):
    """The outcome of evaluating a network on a split.

    Attributes:
      metrics: by name.
      images: the number of images that count.
      predictions: for each image, without names of classes.
    """

    metrics: dict[str, float]
    images: int
    predictions: Predictions


class Evaluator:
    """The evaluation program of some lanes, compiled once.

    Args:
      program: of one lane.
      dataset: the data set to evaluate on.
      layout: of the lanes.
      source: the input pipeline that batches come from.
      lanes: shapes of the lanes' variables and hyperparameters, sharded by the layout.

    Attributes:
      compiled: the program.
    """

    def __init__(
        self,
        program: LaneProgram,
        dataset: Dataset,
        layout: Layout,
        source: type[InputPipeline],
        lanes: tuple[Any, Any],
    ) -> None:
        self._program = program
        self._layout = layout
        inputs = source.evaluation_shapes(program, dataset, layout)
        self.compiled = layout.compile(program.evaluate, (*lanes, *inputs.per_lane), inputs.shared)

    def measure(
        self, variables: Any, values: Any, batches: Iterable[Inputs], lanes: int
    ) -> list[Measured]:
        """Measure every lane over every image of some batches.

        Args:
          variables: of the lanes, sharded by the layout.
          values: their hyperparameters, likewise.
          batches: of a split, from `InputPipeline.evaluation`.
          lanes: the number of lanes to return; the layout may hold more.

        Returns:
          Of each lane its metrics, and a prediction for each row of the batches: those that fill up
          the last batch are left out, as are images that cannot be decoded.
        """
        pending: list[Any] = []
        for batch in batches:
            pending.append(
                self.compiled.run(lanes, variables, values, *batch.per_lane, *batch.shared)
            )
            # Enough to keep devices busy; more would hold on to their images.
            jax.block_until_ready(pending[-_BATCHES_AHEAD:][0])
        by_lane = list(zip(*(self._layout.unstack(batch) for batch in pending), strict=True))
        return [self._measured(batches) for batches in by_lane[:lanes]]

    def _measured(self, batches: Sequence[Any]) -> Measured:
        sums = functools.reduce(_add, (sums for sums, _ in batches))
        images = float(sums["images"])
        labels, predicted, losses = zip(*(each for _, each in batches), strict=True)
        return Measured(
            {
                metric.name: metric.finish(sums[metric.name], images)
                for metric in self._program.metrics
            },
            round(images),
            Predictions(np.concatenate(labels), np.concatenate(predicted), np.concatenate(losses)),
        )


def _add(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {name: a[name] + b[name] for name in a}


def evaluate(
    program: LaneProgram,
    dataset: Dataset,
    images: Images,
    networks: Sequence[Mapping[str, Any]],
    values: Sequence[HParams],
    leave_out: Callable[[Iterable[str]], None] = lambda problems: None,
) -> list[Measured]:
    """Measure networks of one program on a split, as many at a time as memory holds.

    Args:
      program: computes logits and metrics.
      dataset: the data set of `images`.
      images: the split.
      networks: variables of at least one network, trees as `Network.init` gives them.
      values: the networks' hyperparameters, of which projection and shortcut are read.
      leave_out: called with lines that name images that cannot be decoded.

    Returns:
      What is measured of each network.

    Raises:
      ValueError: an image cannot be decoded, or its label is out of range.
      OSError: a file cannot be read.
    """
    program = dataclasses.replace(program, tuning=None, axis_size=1)
    variables = [program.pack(network) for network in networks]
    lanes = len(networks)
    while True:
        layout = Lanes(lanes)
        shapes = layout.shapes(variables[0]), layout.shapes(values[0])
        evaluator = Evaluator(program, dataset, layout, Streaming, shapes)
        if lanes == 1 or evaluator.compiled.bytes <= memory.usable(layout.devices[0]):
            break
        lanes = -(-lanes // 2)
    results: list[Measured] = []
    for start in range(0, len(networks), lanes):
        part = slice(start, start + lanes)
        results += evaluator.measure(
            layout.shard_lanes(parallel.stack(variables[part])),
            layout.shard_lanes(parallel.stack(values[part])),
            streaming.evaluation_batches(images, program, layout, leave_out),
            len(variables[part]),
        )
    return results
