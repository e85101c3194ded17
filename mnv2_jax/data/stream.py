"""Batches decoded on the host while training runs, by Grain: threads, or processes of workers.

What a batch holds is a function of its number alone, so that any number of workers gives the same
batches, and training goes on at any step.
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
from mnv2_jax.data.images import Arrays, Example, Images

_PARENT_SECONDS = 1.0
"""Seconds between two looks of a worker at whether its parent is still there."""

_READ = 256
"""Images that are decoded together when a whole split is read."""

_TELL_SECONDS = 5.0


class Batch(NamedTuple):
    """Rows of a batch, on the host.

    Attributes:
      images: uint8 `[rows, height, width, channels]`.
      labels: int32 `[rows]`.
      weights: float32 `[rows]`: 1 for an image that counts, 0 for what fills up.
      problems: a line for each image that could not be decoded.
    """

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    problems: tuple[str, ...]


class Batches(Protocol):
    """Batches by number."""

    def __len__(self) -> int:
        """Return their number."""

    def __getitem__(self, number: int) -> Batch:
        """One of them."""


class TrainBatches:
    """The batches of all steps of a run, or some of their rows.

    In the place of an image that cannot be decoded, and may be skipped, stands the next one of the
    split, be it among those to train on or not.
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
          split: the training split.
          seed: that order and augmentation are drawn from.
          batch_size: of a whole step.
          epochs: of the run; what is left of an epoch after whole batches is dropped.
          rows: those of a batch to be decoded, such as the share of a host.
          augmentation: its part that is done on the host.
          places: in `split`, of the images to train on, `[count]`; by default all.
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
        # One assignment: threads may overlap, and then sort twice.
        known, order = self._order
        if known != epoch:
            order = rng.epoch_order(self._seed, epoch, self._count)
            if self._places is not None:
                order = self._places[order]
            self._order = epoch, order
        return order

    def _example(self, step: int, row: int, index: int, problems: list[str]) -> Example:
        for moved in range(len(self._split)):
            place = (index + moved) % len(self._split)
            if self._augmentation.on_host:
                generator = rng.generator(self._seed, "view", step, row)
                example = self._split.view(place, self._augmentation, generator)
            else:
                example = self._split[place]
            if not example.problem:
                return example
            problems.append(example.problem)
        raise ValueError(f"{problems[0]}; and no other image can be decoded either")


class EvaluationBatches:
    """A split in batches of one size, every image once, as it is evaluated.

    The last batch is filled up with images of weight 0; an image that cannot be decoded, and may be
    skipped, has weight 0 too.
    """

    def __init__(self, split: Images, batch_size: int, rows: Iterable[int]) -> None:
        """Describe batches; nothing is read yet. See `TrainBatches` for `rows`."""
        self._split = split
        self._batch_size = batch_size
        self._rows = [int(row) for row in rows]

    def __len__(self) -> int:
        return -(-len(self._split) // self._batch_size)

    def __getitem__(self, number: int) -> Batch:
        places = [number * self._batch_size + row for row in self._rows]
        # What fills up is real images, as finite as the rest.
        examples = [self._split[place % len(self._split)] for place in places]
        weights = [
            float(place < len(self._split) and not example.problem)
            for place, example in zip(places, examples, strict=True)
        ]
        problems = [
            example.problem
            for place, example in zip(places, examples, strict=True)
            if place < len(self._split) and example.problem
        ]
        return _stacked(examples, np.array(weights, np.float32), problems)


def iterate(
    batches: Batches,
    start: int = 0,
    workers: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Generator[Batch]:
    """Batches from number `start` on, decoded ahead.

    To be closed (`contextlib.closing`) if it is not read to its end.

    Args:
      batches: what to decode; with workers it is sent to them, pickled.
      start: the first one's number.
      workers: processes to decode in; with 0, threads of this one, which also take over when a
        process dies, or there is no room for what it shares.
      tell: is told in a line that they do.

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
        # What comes of the images themselves comes again, of threads.
        except (RuntimeError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENOSPC:
                raise
        tell(
            f"--data_workers={workers}: a process that decodes images was killed, or had no room "
            f"in {_shared_memory()}; threads decode from here on, as with --data_workers=0"
        )
    yield from _decoded(batches, start, 0)


def _shared_memory() -> str:
    """Return the place where processes put decoded images, and its size."""
    try:
        size = shutil.disk_usage("/dev/shm").total
    except OSError:
        return "/dev/shm"
    return f"/dev/shm, of {size / 2**20:,.1f} MiB"


def _start_tracker() -> None:
    """Start the process that frees the memory which killed workers shared.

    It would tell of that at exit, whoever is to blame.
    """
    quiet = "ignore::UserWarning:multiprocessing.resource_tracker"
    sys.warnoptions.append(quiet)  # Which it is started with.
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(quiet)


def _use_defaults(grain: ModuleType) -> None:
    """Let Grain's options have their defaults where no command line was parsed.

    Grain keeps them as flags, which raise an error then, as in a script or a notebook.
    """
    flags = sys.modules[type(grain.config).__module__].flags.FLAGS
    if not flags.is_parsed():
        flags.mark_as_parsed()


def _decoded(batches: Batches, start: int, workers: int) -> Generator[Batch]:
    """See `iterate`."""
    import grain  # Takes a second to import.

    _use_defaults(grain)
    threads = 0 if workers else cores.available()
    # Looking further ahead costs memory: a batch of a thousand images takes 150 MB.
    reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    stream = grain.MapDataset.source(batches)[start:].to_iter_dataset(reading)
    if workers:
        _start_tracker()
        processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        stream = stream.mp_prefetch(processes, worker_init_fn=_Worker(os.getpid()))
    iterator = iter(stream)
    try:
        for batch in iterator:
            # Workers' arrays are memory that is shared with them, which nobody is to hold on to.
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
        if workers:  # Cycles of Grain's hold on to memory that is shared with them.
            gc.collect()


def read(images: Images, tell: Callable[[str], None]) -> tuple[Arrays, tuple[str, ...]]:
    """Decode a whole split.

    Args:
      images: the split.
      tell: is told now and then how far it is.

    Returns:
      The split, and a line for each image that could not be decoded: in its place stands the next
      one that could, with weight 0.

    Raises:
      ValueError: an image cannot be decoded and may not be skipped, none can be, or a label is out
        of range.
      OSError: a file cannot be read.
    """
    count = len(images)
    size = min(_READ, count)
    began = told = time.perf_counter()
    parts = []
    with contextlib.closing(iterate(EvaluationBatches(images, size, range(size)))) as batches:
        for number, batch in enumerate(batches, start=1):
            parts.append(batch)
            now = time.perf_counter()
            if now - told >= _TELL_SECONDS:
                done = min(count, number * size)
                rate = done / (now - began)
                left = (count - done) / rate
                tell(f"{done:,} of {count:,} images decoded, {rate:,.0f}/s, {left:.0f} s left")
                told = now
    fields = zip(*(part[:3] for part in parts), strict=True)
    arrays = Arrays(*(np.concatenate(field)[:count] for field in fields))
    problems = tuple(line for part in parts for line in part.problems)
    sound = np.flatnonzero(arrays.weights)
    if not len(sound):
        raise ValueError(f"{problems[0]}; and no other image can be decoded either")
    for index in np.flatnonzero(arrays.weights == 0):
        other = sound[np.searchsorted(sound, index) % len(sound)]
        arrays.images[index] = arrays.images[other]
        arrays.labels[index] = arrays.labels[other]
    return arrays, problems


class _Worker:
    """End a worker with its parent; called when it starts."""

    def __init__(self, parent: int) -> None:
        self._parent = parent

    def __call__(self, number: int, count: int) -> None:
        # What a terminal sends reaches workers as well; ending them is the parent's to do.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while os.getppid() == self._parent:
            time.sleep(_PARENT_SECONDS)
        os._exit(1)  # A parent that was killed closes nothing, and would be waited for in vain.


def _stacked(examples: Sequence[Example], weights: np.ndarray, problems: Sequence[str]) -> Batch:
    return Batch(
        np.stack([example.image for example in examples]),
        np.array([example.label for example in examples], np.int32),
        weights,
        tuple(problems),
    )
