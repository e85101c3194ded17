"""Evaluates networks on a split: any variables, by any metrics, exactly on the last batch."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from mnv2_jax.data.images import Images
from mnv2_jax.data.sources import Dataset
from mnv2_jax.train import memory, parallel, streaming
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.input_pipeline import InputPipeline, Inputs
from mnv2_jax.train.parallel import Lanes, Layout
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.streaming import Streaming

_BATCHES_AHEAD = 4


class Evaluator:
    """The evaluation program of some lanes, compiled once.

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
        """Compile.

        Args:
          program: of one lane.
          dataset: what is evaluated on.
          layout: of the lanes.
          source: how images come to the devices.
          lanes: shapes of the lanes' variables and hyperparameters, as the layout spreads them.
        """
        self._program = program
        self._layout = layout
        given = source.evaluation_shapes(program, dataset, layout)
        self.compiled = layout.compile(program.evaluate, (*lanes, *given.of_lanes), given.shared)

    def measure(
        self, variables: Any, values: Any, batches: Iterable[Inputs], lanes: int
    ) -> list[dict[str, float]]:
        """Measure every lane over every image of some batches.

        Args:
          variables: of the lanes, as the layout spreads them.
          values: their hyperparameters, likewise.
          batches: of a split, as `InputPipeline.evaluation` gives them.
          lanes: how many of the layout's there are.

        Returns:
          By metric its value, for each lane.
        """
        pending: list[Any] = []
        for batch in batches:
            pending.append(self.compiled.run(variables, values, *batch.of_lanes, *batch.shared))
            # Enough to keep devices busy; more would hold on to their images.
            jax.block_until_ready(pending[-_BATCHES_AHEAD:][0])
        by_lane = zip(*(self._layout.unstack(batch) for batch in pending), strict=True)
        totals = [functools.reduce(_add, sums) for sums in by_lane][:lanes]
        return [
            {
                metric.name: metric.finish(sums[metric.name], sums["images"])
                for metric in self._program.metrics
            }
            for sums in totals
        ]


def _add(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {name: one[name] + other[name] for name in one}


def evaluate(
    program: LaneProgram,
    dataset: Dataset,
    images: Images,
    networks: Sequence[Mapping[str, Any]],
    values: Sequence[HParams],
    leave_out: Callable[[Iterable[str]], None] = lambda problems: None,
) -> list[dict[str, float]]:
    """Measure networks of one program on a split, as many at a time as memory holds.

    Args:
      program: what computes logits, and by which metrics they are measured.
      dataset: that `images` are of.
      images: the split.
      networks: their variables, trees as `Network.init` gives them.
      values: the networks' hyperparameters, of which projection and shortcut matter.
      leave_out: is told a line for each image that cannot be decoded.

    Returns:
      By metric its value, for each network.

    Raises:
      ValueError: an image cannot be decoded, or its label is out of range.
      OSError: a file cannot be read.
    """
    program = dataclasses.replace(program, tuning=None, axis_size=1)
    variables = [program.pack(network) for network in networks]
    found: list[dict[str, float]] = []
    lanes = len(networks)
    evaluator = None
    while len(found) < len(networks):
        if evaluator is None:
            layout = Lanes(lanes)
            shapes = layout.shapes(variables[0]), layout.shapes(values[0])
            evaluator = Evaluator(program, dataset, layout, Streaming, shapes)
            usable = memory.usable(layout.devices[0])
            if evaluator.compiled.bytes > usable and lanes > 1:
                lanes, evaluator = -(-lanes // 2), None
                continue
        part = slice(len(found), len(found) + lanes)
        batches = streaming.evaluated(images, program, layout, leave_out)
        found += evaluator.measure(
            layout.shard_lanes(parallel.stack(variables[part])),
            layout.shard_lanes(parallel.stack(values[part])),
            batches,
            len(variables[part]),
        )
    return found
