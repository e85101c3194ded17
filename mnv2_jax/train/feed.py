"""What brings images to the devices, as training asks for them.

Every way gives the program the same images in the same order, so that a run comes to the same
whichever is taken; see `mnv2_jax.train.modes`.
"""

import abc
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.parallel import Layout
from mnv2_jax.train.step import LaneProgram


class Call(NamedTuple):
    """What a call of the training program is given.

    Attributes:
      stop: the step before which it ends.
      order: of lanes; see `mnv2_jax.train.step.LaneProgram.train`.
      first: likewise, shared.
      images: likewise.
      labels: likewise.
    """

    stop: int
    order: Any
    first: Any
    images: Any
    labels: Any


class Feed(abc.ABC):
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
    @abc.abstractmethod
    def places(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> tuple[int, int]:
        """How many images a device is given at a time, and how many places their order has."""

    @abc.abstractmethod
    def take(self, step: int, steps: int) -> Call:
        """The images of the steps from `step` on, as many as `steps` in the same epoch or fewer.

        Asked for the same step again, it gives the same. Steps only go forward.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a file cannot be read.
        """

    @abc.abstractmethod
    def evaluation(self, split: str) -> Iterator[Any]:
        """Batches of a split by its name, as the evaluation program takes them.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a file cannot be read.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Gives up memory, and stops what works in the background."""

    def _leave_out(self, problems: Iterable[str]) -> None:
        for problem in problems:
            if problem not in self.left_out:
                self.left_out.add(problem)
                self._tell(f"left out: {problem}")

    def _end_of_epoch(self, step: int) -> int:
        per_epoch = self._program.steps_per_epoch
        return (step // per_epoch + 1) * per_epoch


def evaluation_batch(program: LaneProgram, layout: Layout) -> int:
    """Images in an evaluation batch that divides among the devices that share it."""
    return -(-program.recipe.evaluation_batch_size // layout.parts) * layout.parts
