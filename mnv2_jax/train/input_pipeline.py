"""Feeds: they bring images to the devices, as training asks for them.

Every way gives the program the same images in the same order, so that a run comes to the same
whichever is taken; see `mnv2_jax.train.modes`.
"""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mnv2_jax.data import rng, stream
from mnv2_jax.data.images import Arrays, Images
from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.parallel import Layout, Program
from mnv2_jax.train.step import LaneProgram


class Inputs(NamedTuple):
    """Inputs of a program beside the lanes' states and values.

    Attributes:
      of_lanes: what each lane has of its own.
      shared: what all lanes see.
    """

    of_lanes: tuple[Any, ...]
    shared: tuple[Any, ...]


class StepInputs(NamedTuple):
    """Inputs of a call of the training program.

    Attributes:
      stop: the step before which it ends.
      first: shared; see `mnv2_jax.train.step.LaneProgram.train`.
      inputs: order, images and labels; see there.
    """

    stop: int
    first: Any
    inputs: Inputs


class PipelineArgs(NamedTuple):
    """Arguments that an input pipeline begins with.

    Attributes:
      program: what is fed.
      dataset: its splits.
      layout: of the lanes.
      values: of each lane.
      lanes: states and values as the layout spreads them.
      step: what training begins with, or goes on from.
      workers: processes that decode images which are streamed.
      prepared: see `InputPipeline.prepare`.
      tell: called with a line for people.
    """

    program: LaneProgram
    dataset: Dataset
    layout: Layout
    values: Sequence[HParams]
    lanes: tuple[Any, Any]
    step: int
    workers: int
    prepared: Program | None
    tell: Callable[[str], None]

    @property
    def seeds(self) -> list[int]:
        """Of each lane's data."""
        return [int(lane.data_seed) for lane in self.values]


class InputPipeline(abc.ABC):
    """The images of a run, of one trainer.

    Attributes:
      waited: seconds that training has waited for images.
      left_out: a line for each image that could not be decoded.
    """

    def __init__(
        self,
        program: LaneProgram,
        dataset: Dataset,
        layout: Layout,
        tell: Callable[[str], None],
    ) -> None:
        self._program = program
        self._dataset = dataset
        self._layout = layout
        self._tell = tell
        self.waited = 0.0
        self.left_out: set[str] = set()

    @classmethod
    def program(cls, program: LaneProgram) -> LaneProgram:
        """Return the program of lanes that take this pipeline's inputs."""
        return program

    @classmethod
    @abc.abstractmethod
    def begin(cls, args: PipelineArgs) -> "InputPipeline":
        """Take the inputs of lanes from a step on.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a file cannot be read.
        """

    @classmethod
    def prepare(
        cls, program: LaneProgram, dataset: Dataset, layout: Layout, lanes: tuple[Any, Any]
    ) -> Program | None:
        """Compile what the feed needs beside training and evaluation, for lanes of such shapes."""
        return None

    @classmethod
    @abc.abstractmethod
    def shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """Return the shapes of what a call of the training program is given."""

    @classmethod
    @abc.abstractmethod
    def evaluation_shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """Return the shapes of what the evaluation program is given."""

    @abc.abstractmethod
    def take(self, step: int, steps: int) -> StepInputs:
        """Return the images from `step` on, of at most `steps` steps of the same epoch.

        Asked for the same step again, it gives the same. Steps only go forward.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a file cannot be read.
        """

    @abc.abstractmethod
    def evaluation(self, split: str) -> Iterator[Inputs]:
        """Batches of a split by its name: weights, images and labels.

        Of the training split, every lane's are the images that it trains on.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a file cannot be read.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Give up memory, and stop what works in the background."""

    def _arrays(self, split: str) -> Arrays:
        """Return a whole split, which is decoded the first time."""
        decoded = self._dataset.decoded
        if split not in decoded:
            images: Images = getattr(self._dataset, split)
            decoded[split] = stream.read(images, lambda line: self._tell(f"{split}: {line}"))
        arrays, problems = decoded[split]
        self._leave_out(problems)
        return arrays

    def _leave_out(self, problems: Iterable[str]) -> None:
        for problem in problems:
            if problem not in self.left_out:
                self.left_out.add(problem)
                self._tell(f"left out: {problem}")

    def _end_of_epoch(self, step: int) -> int:
        per_epoch = self._program.steps_per_epoch
        return (step // per_epoch + 1) * per_epoch


class EpochPermutations:
    """The order in which each lane takes its images, on the devices; drawn once an epoch."""

    def __init__(
        self, program: LaneProgram, layout: Layout, seeds: Sequence[int], places: Mapping[int, Any]
    ) -> None:
        """Begin.

        Args:
          program: what is fed.
          layout: of the lanes.
          seeds: of each lane's data.
          places: by seed, where the images lie that it trains on, int32 `[count]`.
        """
        self._program = program
        self._layout = layout
        self._seeds = seeds
        self._places = places
        self._known: tuple[int, Any, Any] = (-1, None, None)

    def at(self, step: int) -> tuple[Any, Any]:
        """Return the order of the epoch that a step is in, of lanes; and its first step, shared."""
        epoch = step // self._program.steps_per_epoch
        if self._known[0] != epoch:
            orders = {
                seed: places[rng.epoch_order(seed, epoch, len(places))]
                for seed, places in self._places.items()
            }
            of_lanes = np.stack([orders[seed] for seed in self._seeds])
            first = np.int32(epoch * self._program.steps_per_epoch)
            layout = self._layout
            put = layout.device_put
            self._known = epoch, put(layout.shard_lanes(of_lanes)), put(layout.replicate(first))
        return self._known[1:]


class Shared(InputPipeline):
    """Brings the same images to all lanes, each in an order of its own."""

    @classmethod
    @abc.abstractmethod
    def places(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> tuple[int, int]:
        """Return the images that a device is given at a time, and the places of their order."""

    @classmethod
    def shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """See `InputPipeline`."""
        count, places = cls.places(program, dataset, layout)
        order = jax.ShapeDtypeStruct((places,), np.int32)
        return Inputs((layout.shapes(order),), layout.replicated_shapes(_images(dataset, count)))

    @classmethod
    def evaluation_shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """See `InputPipeline`."""
        size = evaluation_batch(program, layout) // layout.axis_size
        weights = jax.ShapeDtypeStruct((size,), np.float32)
        return Inputs((layout.shapes(weights),), layout.replicated_shapes(_images(dataset, size)))


def _images(dataset: Dataset, count: int) -> tuple[Any, Any]:
    """Return the shapes of so many images and their labels."""
    return (
        jax.ShapeDtypeStruct((count, *dataset.train.shape), np.uint8),
        jax.ShapeDtypeStruct((count,), np.int32),
    )


def evaluation_batch(program: LaneProgram, layout: Layout) -> int:
    """Images in an evaluation batch that divides among the devices that share it."""
    return -(-program.recipe.evaluation_batch_size // layout.axis_size) * layout.axis_size
