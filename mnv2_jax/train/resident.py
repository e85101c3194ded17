"""Images that lie on the devices, decoded."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.input_pipeline import (
    EpochPermutations,
    Inputs,
    PipelineArgs,
    Shared,
    StepInputs,
    evaluation_batch,
)
from mnv2_jax.train.parallel import Layout
from mnv2_jax.train.step import LaneProgram


class Resident(Shared):
    """Splits lie on the device, decoded, and the program takes from them what it needs."""

    def __init__(
        self,
        program: LaneProgram,
        dataset: Dataset,
        layout: Layout,
        seeds: Sequence[int],
        tell: Callable[[str], None],
    ) -> None:
        """Bring the training and the validation split to the devices.

        Args:
          program: what is fed.
          dataset: its splits; they are decoded the first time.
          layout: of the lanes.
          seeds: of each lane's data.
          tell: called with a line for people.

        Raises:
          ValueError: an image cannot be decoded, or its label is out of range.
          OSError: a file cannot be read.
        """
        super().__init__(program, dataset, layout, tell)
        train = self._arrays("train")
        self._train = layout.device_put(layout.replicate((train.images, train.labels)))
        self._seeds = seeds
        self._chosen = {seed: dataset.chosen(seed) for seed in set(seeds)}
        self._validation = [layout.device_put(batch) for batch in self._batches("validation")]
        self._orders = EpochPermutations(program, layout, seeds, self._chosen)

    @classmethod
    def begin(cls, args: PipelineArgs) -> "Resident":
        """See `InputPipeline`."""
        return cls(*args[:3], args.seeds, args.tell)

    @classmethod
    def places(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> tuple[int, int]:
        """See `InputPipeline`."""
        return len(dataset.train), dataset.training_images

    def take(self, step: int, steps: int) -> StepInputs:
        """See `InputPipeline`."""
        stop = min(self._end_of_epoch(step), step + steps)
        order, first = self._orders.at(step)
        return StepInputs(stop, first, Inputs((order,), self._train))

    def evaluation(self, split: str) -> Iterator[Inputs]:
        """See `InputPipeline`."""
        return iter(self._validation if split == "validation" else self._batches(split))

    def close(self) -> None:
        """See `InputPipeline`."""
        del self._train, self._validation

    def _batches(self, split: str) -> Iterator[Inputs]:
        arrays = self._arrays(split)
        size = evaluation_batch(self._program, self._layout)
        rows = self._layout.host_rows(size)
        wanted = self._wanted(split, len(arrays.labels))
        (evaluated,) = np.nonzero(wanted.any(0))
        for start in range(0, len(evaluated), size):
            places = start + rows
            # What fills up the last batch is real images, as finite as the rest.
            chosen = evaluated[places % len(evaluated)]
            weights = arrays.weights[chosen] * wanted[:, chosen] * (places < len(evaluated))
            images = arrays.images[None, chosen], arrays.labels[None, chosen]
            yield Inputs(
                (self._layout.shard_batch_to_lanes(weights),), self._layout.shard_batch(images)
            )

    def _wanted(self, split: str, count: int) -> np.ndarray:
        """Return the images of a split that each lane is evaluated on, bool `[lanes, count]`."""
        if split != "train":
            return np.ones((len(self._seeds), count), bool)
        return np.stack([np.isin(np.arange(count), self._chosen[seed]) for seed in self._seeds])
