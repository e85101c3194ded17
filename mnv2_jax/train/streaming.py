"""Images that are decoded while training runs."""

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from mnv2_jax.data import stream
from mnv2_jax.data.images import Images
from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.input_pipeline import (
    SAMPLE,
    InputPipeline,
    Inputs,
    StepInputs,
    evaluation_batch_size,
    image_shapes,
)
from mnv2_jax.train.parallel import Layout
from mnv2_jax.train.step import LaneProgram

_CHUNK_BYTES = 2**25
"""The images that are brought to a device at a time, where a step's take less: a call of the
program costs a millisecond."""


class Streaming(InputPipeline):
    """Images are decoded while training runs, and brought to the devices a few steps ahead.

    All lanes have one data seed, and so take the same images.
    """

    def __post_init__(self, lanes: tuple[Any, Any]) -> None:
        program, dataset, layout = self.program, self.dataset, self.layout
        (self._seed,) = set(self.seeds)
        self._steps = self._steps_at_a_time(program, dataset, layout)
        order = np.repeat(self._order_of_rows()[:, None], layout.per_device, axis=1)
        self._order = layout.device_put(order)
        batches = stream.TrainBatches(
            dataset.train,
            self._seed,
            program.recipe.batch_size,
            program.recipe.epochs,
            layout.host_rows(program.recipe.batch_size),
            program.augmentation,
            dataset.chosen(self._seed),
        )
        # One chunk is trained on, one waits on the device, one is being decoded.
        self._chunks: queue.Queue[StepInputs | BaseException] = queue.Queue(maxsize=1)
        self._taken: StepInputs | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(batches,))
        self._thread.start()

    @classmethod
    def shapes(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> Inputs:
        """See `InputPipeline`."""
        rows = cls._steps_at_a_time(program, dataset, layout) * program.recipe.batch_size
        return image_shapes(dataset, layout, rows // layout.axis_size, rows)

    def take(self, step: int, steps: int) -> StepInputs:
        """See `InputPipeline`; a call ends where a chunk does."""
        if self._taken is None or step >= self._taken.stop:
            began = time.perf_counter()
            chunk = self._chunks.get()
            self.waited += time.perf_counter() - began
            if isinstance(chunk, BaseException):
                raise chunk
            self._taken = chunk
        return self._taken._replace(stop=min(self._taken.stop, step + steps))

    def evaluation(self, split: str) -> Iterator[Inputs]:
        """See `InputPipeline`."""
        dataset = self.dataset
        if split == SAMPLE:
            images = dataset.of_train(dataset.sample(self._seed))
        else:
            images = dataset.training(self._seed) if split == "train" else getattr(dataset, split)
        return evaluation_batches(images, self.program, self.layout, self._leave_out)

    def close(self) -> None:
        """See `InputPipeline`."""
        self._closed.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._chunks.get(timeout=0.05)

    @staticmethod
    def _steps_at_a_time(program: LaneProgram, dataset: Dataset, layout: Layout) -> int:
        """Return the number of steps of a chunk: images brought to the devices together."""
        of_step = program.recipe.batch_size // layout.axis_size * math.prod(dataset.train.shape)
        return max(1, min(program.steps_per_epoch, _CHUNK_BYTES // of_step))

    def _order_of_rows(self) -> np.ndarray:
        """Return where a chunk's rows lie on each device, int32 `[devices, steps * batch]`."""
        batch = self.program.recipe.batch_size
        rows = self.layout.rows(batch)
        devices, size = rows.shape
        order = np.zeros((devices, self._steps, batch), np.int32)
        positions = np.arange(self._steps * size, dtype=np.int32).reshape(self._steps, size)
        for device in range(devices):
            order[device][:, rows[device]] = positions
        return order.reshape(devices, -1)

    def _fill(self, batches: stream.TrainBatches) -> None:
        step = self.step
        try:
            with contextlib.closing(
                stream.iterate(batches, step, self.workers, self.tell)
            ) as decoded:
                while step < len(batches) and not self._closed.is_set():
                    stop = min(self._end_of_epoch(step), step + self._steps)
                    self._put(self._chunk(step, stop, [next(decoded) for _ in range(step, stop)]))
                    step = stop
        except BaseException as error:  # Raised again by `take`.
            self._put(error)

    def _chunk(self, step: int, stop: int, batches: list[stream.Batch]) -> StepInputs:
        self._leave_out(line for batch in batches for line in batch.problems)
        # Fill up the last chunk of an epoch; the program stops before what is repeated here.
        batches += batches[-1:] * (self._steps - len(batches))
        images = np.stack([batch.images for batch in batches])
        labels = np.stack([batch.labels for batch in batches])
        layout = self.layout
        first, *shared = layout.device_put(
            (layout.replicate(np.int32(step)), *layout.shard_batch((images, labels)))
        )
        return StepInputs(stop, first, Inputs((self._order,), tuple(shared)))

    def _put(self, chunk: StepInputs | BaseException) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._chunks.put(chunk, timeout=0.5)
                return


def evaluation_batches(
    images: Images,
    program: LaneProgram,
    layout: Layout,
    leave_out: Callable[[Iterable[str]], None],
) -> Iterator[Inputs]:
    """Decode a split batch by batch, the same images for all lanes.

    Args:
      images: the split.
      program: the program that is given them.
      layout: of the lanes.
      leave_out: called with lines that name images that cannot be decoded.

    Raises:
      ValueError: an image cannot be decoded, or its label is out of range.
      OSError: a file cannot be read.
    """
    size = evaluation_batch_size(program, layout)
    rows = layout.host_rows(size)
    batches = stream.EvaluationBatches(images, size, rows)
    # In threads: starting processes takes longer than decoding a small split.
    with contextlib.closing(stream.iterate(batches)) as decoded:
        for batch in decoded:
            leave_out(batch.problems)
            weights = np.broadcast_to(batch.weights, (layout.count, len(rows)))
            shared = layout.shard_batch((batch.images[None], batch.labels[None]))
            yield Inputs((layout.shard_batch_to_lanes(weights),), shared)
