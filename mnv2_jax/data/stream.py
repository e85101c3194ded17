"""Batches decoded on the host while training runs, by Grain's threads or worker processes.

A batch is a function of its number alone: any number of workers gives the same batches, and
training can resume at any step.
"""

import contextlib
import errno
import gc
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from multiprocessing import resource_tracker
from types import ModuleType
from typing import NamedTuple, Protocol

import numpy as np

from mnv2_jax import cores
from mnv2_jax.data import rng
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.data.images import Arrays, Example, Images, fill
from mnv2_jax.terminal import counter

_PARENT_SECONDS = 1.0
"""Seconds after which a worker checks again that its parent is alive."""

_READ = 256
"""Number of images in a batch when a whole split is read."""


class Batch(NamedTuple):
    """Rows of a batch, on the host.

    Attributes:
      images: uint8 `[rows, height, width, channels]`.
      labels: int32 `[rows]`.
      weights: float32 `[rows]`: 1 for images that count, 0 for padding.
      problems: a line for each image that could not be decoded.
    """

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    problems: tuple[str, ...]


class Batches(Protocol):
    """Batches by number from 0."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Batch: ...


class TrainBatches:
    """The batches of all steps of a run, or some of their rows.

    The next image of the split, even one that is not trained on, replaces an image that cannot be
    decoded and may be skipped.
    """

    def __init__(
        self,
        split: Images,
        seed: int,
        batch_size: int,
        epochs: int,
        rows: Iterable[int],
        augmentation: Augmentation,
        places: np.ndarray | None = None,
    ) -> None:
        """Describe batches; nothing is read yet.

        Args:
          split: training split.
          seed: seed of order and augmentation.
          batch_size: images per step, on all hosts together.
          epochs: number of epochs; each drops the images that do not fill a batch.
          rows: rows of each batch to decode, such as the share of a host.
          augmentation: `crops.training_view` applies its part on the host.
          places: indices in `split` of the images to train on, `[count]`; by default all.
        """
        self._split = split
        self._seed = seed
        self._batch_size = batch_size
        self._places = places
        self._count = len(split) if places is None else len(places)
        self._steps_per_epoch = self._count // batch_size
        self._steps = epochs * self._steps_per_epoch
        self._rows = [int(row) for row in rows]
        self._augmentation = augmentation
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int32))

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        epoch, position = divmod(step, self._steps_per_epoch)
        order = self._order_of(epoch)[position * self._batch_size :]
        problems: list[str] = []
        examples = [self._example(step, row, int(order[row]), problems) for row in self._rows]
        return _stacked(examples, np.ones(len(examples), np.float32), problems)

    def _order_of(self, epoch: int) -> np.ndarray:
        # Assigned at once: threads may overlap, and then sort twice.
        cached_epoch, order = self._order
        if cached_epoch != epoch:
            order = rng.epoch_order(self._seed, epoch, self._count)
            if self._places is not None:
                order = self._places[order]
            self._order = epoch, order
        return order

    def _example(self, step: int, row: int, index: int, problems: list[str]) -> Example:
        for offset in range(len(self._split)):
            candidate = (index + offset) % len(self._split)
            if self._augmentation.on_host:
                generator = rng.generator(self._seed, "view", step, row)
                example = self._split.view(candidate, self._augmentation, generator)
            else:
                example = self._split[candidate]
            if not example.problem:
                return example
            problems.append(example.problem)
        raise ValueError(f"{problems[0]}; and no other image can be decoded either")


class EvaluationBatches:
    """A split in batches of one size for evaluation, every image once.

    Images of weight 0 pad the last batch. An image that cannot be decoded, and may be skipped, has
    weight 0 too.
    """

    def __init__(self, split: Images, batch_size: int, rows: Iterable[int]) -> None:
        """Describe batches; nothing is read yet. See `TrainBatches` for `rows`."""
        self._split = split
        self._batch_size = batch_size
        self._rows = [int(row) for row in rows]

    def __len__(self) -> int:
        return -(-len(self._split) // self._batch_size)

    def __getitem__(self, number: int) -> Batch:
        examples, weights, problems = [], [], []
        for row in self._rows:
            index = number * self._batch_size + row
            padding = index >= len(self._split)
            # Real images pad the batch, so that its logits are finite.
            example = self._split[index % len(self._split)]
            examples.append(example)
            weights.append(float(not padding and not example.problem))
            if example.problem and not padding:
                problems.append(example.problem)
        return _stacked(examples, np.array(weights, np.float32), problems)


def iterate(
    batches: Batches,
    start: int = 0,
    workers: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Generator[Batch]:
    """Yield batches from number `start` on, decoded ahead.

    Close the generator (`contextlib.closing`) if you do not exhaust it.

    Args:
      batches: batches to decode; they are pickled and sent to workers.
      start: number of the first batch.
      workers: number of worker processes; 0 decodes in threads. Threads also take over when a
        worker dies, or shared memory is full.
      tell: is called with a line when threads take over.

    Raises:
      ValueError: an image cannot be decoded, or its label is out of range.
      OSError: a file cannot be read.
    """
    if workers:
        try:
            with contextlib.closing(_decoded(batches, start, workers)) as decoded:
                for batch in decoded:
                    yield batch
                    start += 1
            return
        # Threads raise errors of the images themselves again.
        except (RuntimeError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENOSPC:
                raise
        tell(
            f"--data_workers={workers}: a process that decodes images was killed, or had no room "
            f"in {_shared_memory()}; threads decode from here on, as with --data_workers=0"
        )
    yield from _decoded(batches, start, 0)


def _shared_memory() -> str:
    """Return the folder of shared memory, and its size."""
    try:
        size = shutil.disk_usage("/dev/shm").total
    except OSError:
        return "/dev/shm"
    return f"/dev/shm, of {size / 2**20:,.1f} MiB"


def _start_tracker() -> None:
    """Start the process that frees the shared memory of killed workers, without its warning."""
    quiet = "ignore::UserWarning:multiprocessing.resource_tracker"
    sys.warnoptions.append(quiet)  # The process inherits these.
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(quiet)


def _use_defaults(grain: ModuleType) -> None:
    """Use the defaults of Grain's options where no command line was parsed, as in a notebook.

    Grain's options are absl flags, which raise an error if read before that.
    """
    flags = sys.modules[type(grain.config).__module__].flags.FLAGS
    if not flags.is_parsed():
        flags.mark_as_parsed()


def _decoded(batches: Batches, start: int, workers: int) -> Generator[Batch]:
    """Yield batches from number `start` on, without anything to take over; see `iterate`."""
    import grain  # Takes a second to import.

    _use_defaults(grain)
    threads = 0 if workers else cores.available()
    # Decoding further ahead takes memory: 150 MB for a batch of a thousand images.
    reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    stream = grain.MapDataset.source(batches)[start:].to_iter_dataset(reading)
    if workers:
        _start_tracker()
        processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        stream = stream.mp_prefetch(processes, worker_init_fn=_Worker(os.getpid()))
    iterator = iter(stream)
    try:
        for batch in iterator:
            # Workers' arrays are shared memory, and are to be released: callers get copies.
            yield (
                batch._replace(
                    images=np.array(batch.images),
                    labels=np.array(batch.labels),
                    weights=np.array(batch.weights),
                )
                if workers
                else batch
            )
            del batch
    finally:
        close = getattr(iterator, "close", None)
        if close:
            close()
        del stream, iterator
        if workers:  # Grain's reference cycles hold shared memory.
            gc.collect()


def read(images: Images, tell: Callable[[str], None]) -> tuple[Arrays, tuple[str, ...]]:
    """Decode a whole split.

    Args:
      images: the split.
      tell: is called with a line about the progress now and then.

    Returns:
      The decoded split, and a line for each image that could not be decoded. The next image that
      could replaces it, with weight 0.

    Raises:
      ValueError: an image cannot be decoded and may not be skipped, no image can be decoded, or a
        label is out of range.
      OSError: a file cannot be read.
    """
    count = len(images)
    size = min(_READ, count)
    count_done = counter(tell, count, "images decoded")
    parts = []
    with contextlib.closing(iterate(EvaluationBatches(images, size, range(size)))) as batches:
        for number, batch in enumerate(batches, start=1):
            parts.append(batch)
            count_done(min(count, number * size))
    fields = zip(*(part[:3] for part in parts), strict=True)
    arrays = Arrays(*(np.concatenate(field)[:count] for field in fields))
    problems = tuple(line for part in parts for line in part.problems)
    if not fill(arrays):
        raise ValueError(f"{problems[0]}; and no other image can be decoded either")
    return arrays, problems


class _Worker:
    """Initialise a worker so that it ends with its parent."""

    def __init__(self, parent: int) -> None:
        self._parent = parent

    def __call__(self, number: int, count: int) -> None:
        # A terminal's signals reach workers too, but the parent ends them.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while os.getppid() == self._parent:
            time.sleep(_PARENT_SECONDS)
        os._exit(1)  # A killed parent closes nothing: an orderly exit would wait for it.


def _stacked(examples: Sequence[Example], weights: np.ndarray, problems: Sequence[str]) -> Batch:
    return Batch(
        np.stack([example.image for example in examples]),
        np.array([example.label for example in examples], np.int32),
        weights,
        tuple(problems),
    )
