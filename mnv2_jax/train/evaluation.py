"""Evaluates networks on a split: any variables, by any metrics, exactly on the last batch."""

import functools
from collections.abc import Iterable
from typing import Any

import jax

from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.feed import Feed, Inputs
from mnv2_jax.train.parallel import Layout
from mnv2_jax.train.step import LaneProgram

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
        source: type[Feed],
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
          batches: of a split, as `Feed.evaluation` gives them.
          lanes: how many of the layout's there are.

        Returns:
          By metric its value, for each lane.
        """
        pending: list[Any] = []
        for batch in batches:
            pending.append(self.compiled.run(variables, values, *batch.of_lanes, *batch.shared))
            # Enough to keep devices busy; more would hold on to their images.
            jax.block_until_ready(pending[-_BATCHES_AHEAD:][0])
        by_lane = zip(*(self._layout.gather(batch) for batch in pending), strict=True)
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
