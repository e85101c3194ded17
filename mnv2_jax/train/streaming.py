"""Images that are decoded while training runs."""

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from mnv2_jax.data import stream
from mnv2_jax.data.images import Images
from mnv2_jax.data.sources import Dataset
from mnv2_jax.train.input_pipeline import Inputs, PipelineArgs, Shared, StepInputs, evaluation_batch
from mnv2_jax.train.parallel import Layout
from mnv2_jax.train.step import LaneProgram

_CHUNK_BYTES = 2**25
"""The images that are brought to a device at a time, where a step's take less: a call of the
program costs a millisecond."""


class Streaming(Shared):
    """Images are decoded while training runs, and brought to the devices a few steps ahead.

    All lanes are given the same images.
    """

    def __init__(
        self,
        program: LaneProgram,
        dataset: Dataset,
        layout: Layout,
        seed: int,
        step: int,
        workers: int,
        tell: Callable[[str], None],
    ) -> None:
        """Begin to decode the images of the steps from `step` on.

        Args:
          program: what is fed.
          dataset: its splits.
          layout: of the lanes.
          seed: of the lanes' data.
          step: what training begins with, or goes on from.
          workers: processes to decode in; see `mnv2_jax.data.stream.iterate`.
          tell: called with a line for people.
        """
        super().__init__(program, dataset, layout, tell)
        self._steps = self._chunk(program, dataset, layout)
        order = self._places_of_rows()
        self._order = layout.device_put(np.repeat(order[:, None], layout.per_device, axis=1))
        self._seed = seed
        batches = stream.TrainBatches(
            dataset.train,
            seed,
            program.recipe.batch_size,
            program.recipe.epochs,
            layout.host_rows(program.recipe.batch_size),
            program.augmentation,
            dataset.chosen(seed),
        )
        # Of one call batches are trained on, of one they wait on the device, of one they are made.
        self._chunks: queue.Queue[StepInputs | BaseException] = queue.Queue(maxsize=1)
        self._taken: StepInputs | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(batches, step, workers))
        self._thread.start()

    @classmethod
    def begin(cls, args: PipelineArgs) -> "Streaming":
        """See `InputPipeline`; the lanes' data have one seed."""
        (seed,) = set(args.seeds)
        return cls(*args[:3], seed, args.step, args.workers, args.tell)

    @classmethod
    def places(cls, program: LaneProgram, dataset: Dataset, layout: Layout) -> tuple[int, int]:
        """See `InputPipeline`."""
        steps = cls._chunk(program, dataset, layout)
        size = program.recipe.batch_size
        return steps * size // layout.axis_size, steps * size

    def take(self, step: int, steps: int) -> StepInputs:
        """See `InputPipeline`; no further than what was brought together."""
        if self._taken is None or step >= self._taken.stop:
            began = time.perf_counter()
            found = self._chunks.get()
            self.waited += time.perf_counter() - began
            if isinstance(found, BaseException):
                raise found
            self._taken = found
        return self._taken._replace(stop=min(self._taken.stop, step + steps))

    def evaluation(self, split: str) -> Iterator[Inputs]:
        """See `InputPipeline`."""
        dataset = self._dataset
        images = dataset.training(self._seed) if split == "train" else getattr(dataset, split)
        return evaluated(images, self._program, self._layout, self._leave_out)

    def close(self) -> None:
        """See `InputPipeline`."""
        self._closed.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._chunks.get(timeout=0.05)

    @staticmethod
    def _chunk(program: LaneProgram, dataset: Dataset, layout: Layout) -> int:
        """Return the number of steps whose images are brought to the devices together."""
        of_step = program.recipe.batch_size // layout.axis_size * math.prod(dataset.train.shape)
        return max(1, min(program.steps_per_epoch, _CHUNK_BYTES // of_step))

    def _places_of_rows(self) -> np.ndarray:
        """Return the places of a call's rows on each device, int32 `[devices, places]`."""
        batch = self._program.recipe.batch_size
        rows = self._layout.rows(batch)
        devices, size = rows.shape
        order = np.zeros((devices, self._steps, batch), np.int32)
        places = np.arange(self._steps * size, dtype=np.int32).reshape(self._steps, size)
        for device in range(devices):
            order[device][:, rows[device]] = places
        return order.reshape(devices, -1)

    def _fill(self, batches: stream.TrainBatches, step: int, workers: int) -> None:
        try:
            with contextlib.closing(stream.iterate(batches, step, workers, self._tell)) as decoded:
                while step < len(batches) and not self._closed.is_set():
                    stop = min(self._end_of_epoch(step), step + self._steps)
                    taken = [next(decoded) for _ in range(step, stop)]
                    self._put(self._call(step, stop, taken))
                    step = stop
        except BaseException as error:  # To be raised where it is waited for.
            self._put(error)

    def _call(self, step: int, stop: int, batches: list[stream.Batch]) -> StepInputs:
        self._leave_out(line for batch in batches for line in batch.problems)
        # Steps that an epoch is short of are not computed: what stands there does not matter.
        batches += batches[-1:] * (self._steps - len(batches))
        images = np.stack([batch.images for batch in batches])
        labels = np.stack([batch.labels for batch in batches])
        layout = self._layout
        first, *dealt = layout.device_put(
            (layout.replicate(np.int32(step)), *layout.shard_batch((images, labels)))
        )
        return StepInputs(stop, first, Inputs((self._order,), tuple(dealt)))

    def _put(self, what: StepInputs | BaseException) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._chunks.put(what, timeout=0.5)
                return


def evaluated(
    images: Images,
    program: LaneProgram,
    layout: Layout,
    leave_out: Callable[[Iterable[str]], None],
) -> Iterator[Inputs]:
    """Decode a split batch by batch, the same images for all lanes.

    Args:
      images: the split.
      program: what is given them.
      layout: of the lanes.
      leave_out: is told a line for each image that cannot be decoded.

    Raises:
      ValueError: an image cannot be decoded, or its label is out of range.
      OSError: a file cannot be read.
    """
    size = evaluation_batch(program, layout)
    rows = layout.host_rows(size)
    batches = stream.EvaluationBatches(images, size, rows)
    # In threads: it takes longer to start processes than to decode a small split.
    with contextlib.closing(stream.iterate(batches)) as decoded:
        for batch in decoded:
            leave_out(batch.problems)
            weights = np.broadcast_to(batch.weights, (layout.count, len(rows)))
            shared = layout.shard_batch((batch.images[None], batch.labels[None]))
            yield Inputs((layout.shard_batch_to_lanes(weights),), shared)
