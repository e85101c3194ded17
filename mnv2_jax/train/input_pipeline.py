"""Input pipelines: they bring images to the devices.

Every pipeline gives the program the same images in the same order, so that the choice of one
changes no result; see `mnv2_jax.train.modes`.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mnv2_jax.data import rng
from mnv2_jax.data.images import Arrays
from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.parallel import Layout, Program
from mnv2_jax.train.step import LaneProgram

SAMPLE = "train sample"
"""The training images that are evaluated in every epoch; see `Dataset.sample`."""


class Inputs(NamedTuple):
    """Inputs of a program besides the lanes' states and hyperparameters.

    Attributes:
      per_lane: arrays of which each lane has its own.
      shared: arrays that all lanes see.
    """

    per_lane: tuple[Any, ...]
    shared: tuple[Any, ...]


class StepInputs(NamedTuple):
    """Inputs of one call of the training program.

    Attributes:
      stop: the step before which the call ends.
      first: `first` of `mnv2_jax.train.step.LaneProgram.train`, on every device.
      inputs: order, images and labels of that function.
    """

    stop: int
    first: Any
    inputs: Inputs


@dataclasses.dataclass(eq=False)
class InputPipeline(abc.ABC):
    """The images of one run of a trainer.

    Subclasses start their work in `__post_init__`.

    Attributes:
      program: the program that is given the images.
      dataset: the splits.
      layout: of the lanes.
      values: the hyperparameters of each lane.
      lanes: states and hyperparameters, sharded by the layout.
      step: the first step to bring images for.
      workers: processes that decode streamed images.
      prepared: the result of `prepare`.
      tell: called with a line for the user.
      waited: seconds that training has waited for images.
      left_out: a line for each image that could not be decoded.

    Raises:
      ValueError: here or later, an image cannot be decoded, or its label is out of range.
      OSError: here or later, a file cannot be read.
    """

    program: LaneProgram
    dataset: Dataset
    layout: Layout
    values: Sequence[HParams]
    lanes: dataclasses.InitVar[tuple[Any, Any]]
    step: int
    workers: int
    prepared: Program | None
    tell: Callable[[str], None]
    waited: float = dataclasses.field(default=0.0, init=False)
    left_out: set[str] = dataclasses.field(default_factory=set, init=False)

    @abc.abstractmethod
    def __post_init__(self, lanes: tuple[Any, Any]) -> None: ...

    @classmethod
    def adapt(cls, program: LaneProgram) -> LaneProgram:
        """Return the program that takes this pipeline's inputs."""
        return program

    @classmethod
    def prepare(
        cls, program: LaneProgram, dataset: Dataset, layout: Layout, lanes: tuple[Any, Any]
    ) -> Program | None:
        """Compile what the pipeline itself runs, if anything, for lanes of these shapes."""
        return None

    @classmethod
    @abc.abstractmethod
    def shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """Return the shapes of the training program's inputs."""

    @classmethod
    def evaluation_shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """Return the shapes of the evaluation program's inputs."""
        size = evaluation_batch_size(program, layout) // layout.axis_size
        weights = jax.ShapeDtypeStruct((size,), np.float32)
        return Inputs((layout.shapes(weights),), _images(dataset, layout, size))

    @abc.abstractmethod
    def take(self, step: int, steps: int) -> StepInputs:
        """Return the images from `step` on, of at most `steps` steps of one epoch.

        Steps never decrease from call to call; the same step again returns the same images.
        """

    @abc.abstractmethod
    def evaluation(self, split: str) -> Iterator[Inputs]:
        """Yield batches of a split, or of `SAMPLE`: weights, images and labels.

        Of training images, each lane's weights choose those that it trains on.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Free memory and stop background work."""

    @property
    def seeds(self) -> list[int]:
        """The seed of each lane's data."""
        return [int(lane.data_seed) for lane in self.values]

    def _leave_out(self, problems: Iterable[str]) -> None:
        for problem in problems:
            if problem not in self.left_out:
                self.left_out.add(problem)
                self.tell(f"left out: {problem}")

    def _end_of_epoch(self, step: int) -> int:
        per_epoch = self.program.steps_per_epoch
        return (step // per_epoch + 1) * per_epoch


class OnDevice(InputPipeline):
    """A pipeline of which training and validation split lie on the devices.

    Subclasses call `_start` in `__post_init__`.
    """

    def _start(self, train: Inputs, indices: Mapping[int, np.ndarray]) -> None:
        """Keep the training split, and bring the validation split to the devices.

        Args:
          train: images and labels, on the devices.
          indices: by seed, the indices of the images to train on, int32 `[count]`.
        """
        self._train = train
        self._indices = indices
        self._kept = {
            name: [self.layout.device_put(batch) for batch in self._batches(name)]
            for name in ("validation", SAMPLE)  # They are evaluated in every epoch.
        }
        self._order: tuple[int, Any] = (-1, None)  # An epoch and what `_order_in` gives for it.

    def take(self, step: int, steps: int) -> StepInputs:
        """See `InputPipeline`."""
        epoch = step // self.program.steps_per_epoch
        if self._order[0] != epoch:
            self._order = epoch, self._order_in(epoch)
        order, first = self._order[1]
        stop = min(self._end_of_epoch(step), step + steps)
        return StepInputs(
            stop, first, self._train._replace(per_lane=(order, *self._train.per_lane))
        )

    def evaluation(self, split: str) -> Iterator[Inputs]:
        """See `InputPipeline`."""
        return iter(self._kept.get(split) or self._batches(split))

    def close(self) -> None:
        """See `InputPipeline`."""
        del self._train, self._kept

    @abc.abstractmethod
    def _batches(self, split: str) -> Iterator[Inputs]:
        """Yield batches; see `evaluation`."""

    def _order_in(self, epoch: int) -> tuple[Any, Any]:
        """Bring the order in which each lane takes its images to the devices.

        Returns:
          The order, per lane, and the epoch's first step, shared.
        """
        orders = {
            seed: indices[rng.epoch_order(seed, epoch, len(indices))]
            for seed, indices in self._indices.items()
        }
        per_lane = self.layout.shard_lanes(np.stack([orders[seed] for seed in self.seeds]))
        first = self.layout.replicate(np.int32(epoch * self.program.steps_per_epoch))
        return self.layout.device_put((per_lane, first))

    def _arrays(self, split: str) -> Arrays:
        """Return a whole split, decoded on the first call."""
        arrays, problems = self.dataset.arrays(split, self.tell)
        self._leave_out(problems)
        return arrays


def image_shapes(dataset: Dataset, layout: Layout, count: int, entries: int) -> Inputs:
    """Return the shapes of the training program's inputs, where all lanes see the same images.

    Args:
      dataset: the splits.
      layout: of the lanes.
      count: the images that a device is given at a time.
      entries: the entries of each lane's order.
    """
    order = jax.ShapeDtypeStruct((entries,), np.int32)
    return Inputs((layout.shapes(order),), _images(dataset, layout, count))


def evaluation_batch_size(program: LaneProgram, layout: Layout) -> int:
    """Return the recipe's batch size for evaluation, rounded up to divide among devices."""
    return -(-program.recipe.evaluation_batch_size // layout.axis_size) * layout.axis_size


def _images(dataset: Dataset, layout: Layout, count: int) -> Any:
    """Return the shapes of `count` images and labels on each device."""
    images = jax.ShapeDtypeStruct((count, *dataset.train.shape), np.uint8)
    return layout.replicated_shapes((images, jax.ShapeDtypeStruct((count,), np.int32)))
