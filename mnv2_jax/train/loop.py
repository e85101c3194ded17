"""Trains lanes of one program: compiles it, brings it what it needs, runs it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mnv2_jax.data.sources import Dataset
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.train import parallel
from mnv2_jax.train.feed import Beginning, Call, Feed, Inputs
from mnv2_jax.train.lane import LaneValues
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.results import LaneResult
from mnv2_jax.train.step import LaneProgram
from mnv2_jax.train.supervision import Supervision
from mnv2_jax.train.training import Training
from mnv2_jax.train.tuning import Start


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
        """Compiles the programs: steps of training, a batch of evaluation, what the feed needs.

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
        self._prepared = source.prepare(self.program, dataset, layout, lanes)
        if self._prepared:
            self.bytes = max(self.bytes, self._prepared.bytes)
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
        parts = self.program, self.dataset, self.layout
        return self.source.begin(
            Beginning(*parts, values, lanes, step, self.workers, self._prepared, tell)
        )

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
            return Training(self, values, watch, starts or [None] * len(values)).run()
