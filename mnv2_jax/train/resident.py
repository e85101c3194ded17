"""Images that lie on the devices, decoded."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mnv2_jax.data import draws, stream
from mnv2_jax.data.images import Arrays, Images
from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.feed import Call, Feed, evaluation_batch
from mnv2_jax.train.parallel import Layout
from mnv2_jax.train.step import LaneProgram


class Resident(Feed):
    """Splits lie on the device, decoded, and the program takes from them what it needs."""

    def __init__(
        self,
        program: LaneProgram,
        dataset: Dataset,
        layout: Layout,
        seeds: Sequence[int],
        tell: Callable[[str], None],
    ) -> None:
        """Brings the training and the validation split to the devices.

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
        self._train = layout.place(layout.share((train.images, train.labels)))
        self._validation = [layout.place(batch) for batch in self._batches("validation")]
        self._seeds = seeds
        self._order: tuple[int, Any, Any] = (-1, None, None)

    @classmethod
    def places(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> tuple[int, int]:
        """See `Feed`."""
        return len(dataset.train), len(dataset.train)

    def take(self, step: int, steps: int) -> Call:
        """See `Feed`."""
        epoch = step // self._program.steps_per_epoch
        if self._order[0] != epoch:
            count = len(self._dataset.train)
            orders = {seed: draws.epoch_order(seed, epoch, count) for seed in set(self._seeds)}
            of_lanes = np.stack([orders[seed] for seed in self._seeds])
            first = np.int32(epoch * self._program.steps_per_epoch)
            place, layout = self._layout.place, self._layout
            self._order = epoch, place(layout.spread(of_lanes)), place(layout.share(first))
        stop = min(self._end_of_epoch(step), step + steps)
        return Call(stop, *self._order[1:], *self._train)

    def evaluation(self, split: str) -> Iterator[Any]:
        """See `Feed`."""
        return iter(self._validation if split == "validation" else self._batches(split))

    def close(self) -> None:
        """See `Feed`."""
        del self._train, self._validation

    def _arrays(self, split: str) -> Arrays:
        decoded = self._dataset.decoded
        if split not in decoded:
            images: Images = getattr(self._dataset, split)
            decoded[split] = stream.read(images, lambda line: self._tell(f"{split}: {line}"))
        arrays, problems = decoded[split]
        self._leave_out(problems)
        return arrays

    def _batches(self, split: str) -> Iterator[Any]:
        arrays = self._arrays(split)
        size = evaluation_batch(self._program, self._layout)
        rows = self._layout.host_rows(size)
        count = len(arrays.labels)
        for start in range(0, count, size):
            places = start + rows
            # What fills up the last batch is real images, as finite as the rest.
            images, labels, weights = (leaf[None, places % count] for leaf in arrays)
            yield self._layout.deal((images, labels, weights * (places < count)))
