"""Images that lie on the devices, decoded."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.input_pipeline import (
    SAMPLE,
    Inputs,
    OnDevice,
    evaluation_batch_size,
    image_shapes,
)
from mnv2_jax.train.parallel import Layout
from mnv2_jax.train.step import LaneProgram


class Resident(OnDevice):
    """All lanes see the same images and take them in their own order."""

    def __post_init__(self, lanes: tuple[Any, Any]) -> None:
        train = self._arrays("train")
        images = self.layout.device_put(self.layout.replicate((train.images, train.labels)))
        self._start(Inputs((), images), {seed: self.dataset.chosen(seed) for seed in self.seeds})

    @classmethod
    def shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """See `InputPipeline`."""
        return image_shapes(dataset, layout, len(dataset.train), dataset.training_images)

    def _batches(self, split: str) -> Iterator[Inputs]:
        arrays = self._arrays("train" if split == SAMPLE else split)
        size = evaluation_batch_size(self.program, self.layout)
        rows = self.layout.host_rows(size)
        wanted = self._wanted(split, len(arrays.labels))
        (evaluated,) = np.nonzero(wanted.any(0))
        for start in range(0, len(evaluated), size):
            indices = start + rows
            # The last batch is filled up with real images of weight 0, which are as finite as any.
            chosen = evaluated[indices % len(evaluated)]
            weights = arrays.weights[chosen] * wanted[:, chosen] * (indices < len(evaluated))
            images = arrays.images[None, chosen], arrays.labels[None, chosen]
            yield Inputs(
                (self.layout.shard_batch_to_lanes(weights),), self.layout.shard_batch(images)
            )

    def _wanted(self, split: str, count: int) -> np.ndarray:
        """Return the images of a split that each lane is evaluated on, bool `[lanes, count]`."""
        if split not in ("train", SAMPLE):
            return np.ones((len(self.values), count), bool)
        chosen = self.dataset.sample if split == SAMPLE else self.dataset.chosen
        return np.stack([np.isin(np.arange(count), chosen(seed)) for seed in self.seeds])
