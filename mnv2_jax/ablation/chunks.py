"""Lanes of a cohort that train together: all of them, or as many as memory holds."""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from mnv2_jax import checksums
from mnv2_jax.ablation.cohort import Cohort, Run, of_phase
from mnv2_jax.train import memory, modes
from mnv2_jax.train.features import Features
from mnv2_jax.train.input_pipeline import InputPipeline
from mnv2_jax.train.loop import Trainer
from mnv2_jax.train.recipe import COMPUTE_DTYPES
from mnv2_jax.train.streaming import Streaming

Chunk = tuple[Run, ...]


def check_memory(cohorts: Sequence[Cohort]) -> None:
    """Refuse configs that cannot fit into memory, before anything is allocated.

    Raises:
      ValueError: a single array of one lane exceeds the memory; the message names the field.
    """
    usable = memory.usable(jax.local_devices()[0])
    for cohort in cohorts:
        config = cohort.runs[0].config
        with of_phase(config):
            for field, value, what, needed in _single_arrays(cohort):
                if needed > usable:
                    raise ValueError(
                        f"config.{field}={value!r}: {what} alone takes {needed / 2**30:,.1f} GiB "
                        f"of memory, of {usable / 2**30:,.1f} usable; expected a smaller value"
                    )
            mode = config.data.mode
            if mode not in ("resident", "features"):
                continue
            needed, room = modes.held_bytes(mode, cohort.dataset)
            if needed > room:
                raise ValueError(
                    f"config.data.mode={mode!r}: the images take {needed / 2**30:,.1f} GiB of "
                    f"memory, of {room / 2**30:,.1f} usable; expected 'auto' or 'streaming'"
                )


def _single_arrays(cohort: Cohort) -> Iterator[tuple[str, object, str, int]]:
    """Yield fields that arrays grow with: path, value, a name of the array, bytes per device."""
    config, recipe = cohort.runs[0].config, cohort.program.recipe
    layout = cohort.layout(len(cohort.runs))[0](1)
    # CPU devices share one memory, so the parts of a batch add up.
    parts = 1 if layout.devices[0].platform == "cpu" else layout.axis_size
    size = np.dtype(COMPUTE_DTYPES[recipe.compute_dtype]).itemsize
    image = size * max(math.prod(layer.output) for layer in cohort.cost.layers)
    yield "data.resolution", config.data.resolution, "the largest activation of one image", image
    yield "model.width", config.model.width, "one copy of the parameters", 4 * cohort.cost.params
    activation = "the largest activation of a batch"
    if cohort.feed()[0] is not Features:
        at_once = -(-recipe.batch_size // (recipe.grad_accum_steps * parts))
        yield "train.batch_size", recipe.batch_size, activation, at_once * image
    evaluated = recipe.evaluation_batch_size
    yield "train.evaluation_batch_size", evaluated, activation, -(-evaluated // parts) * image


def trainer_of(
    cohort: Cohort,
    lanes: int,
    workers: int,
    tell: Callable[[str], None],
    earlier: Trainer | None = None,
) -> Trainer:
    """Compile the trainer of a cohort, for all lanes or as many as fit into memory.

    Args:
      cohort: the cohort.
      lanes: their number.
      workers: processes that decode streamed images.
      tell: called with lines about choices.
      earlier: a trainer whose programs are taken if they are those of the cohort.

    Raises:
      jax.errors.JaxRuntimeError: not even the fewest lanes fit.
    """
    feed, way = cohort.feed()
    tell(f"images {way}")
    layout, choice = cohort.layout(lanes)
    tell(choice)
    if (
        earlier
        and earlier.source is feed
        and earlier.is_of(cohort.program, layout(lanes))
        and (same := earlier.with_splits(cohort.dataset))
    ):
        return same
    while True:
        try:
            trainer = Trainer(cohort.program, cohort.dataset, layout(lanes), feed, workers)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            fewer = halved(lanes, error)
            tell(f"out of memory compiling {lanes} lanes; trying {fewer}")
        else:
            usable = memory.usable(jax.local_devices()[0])
            if trainer.bytes <= usable or lanes == 1:
                return trainer
            fewer = min(lanes - 1, max(1, lanes * usable // trainer.bytes))
            tell(
                f"{lanes} lanes would take {trainer.bytes / 2**30:.2f} GiB of "
                f"{usable / 2**30:.2f} usable; chunks of {fewer} at most"
            )
        lanes = even(lanes, fewer)


def even(lanes: int, most: int) -> int:
    """Return the size of chunks that are as equal as possible, of at most `most` lanes."""
    return -(-lanes // -(-lanes // most))


def halved(lanes: int, error: Exception) -> int:
    """Return half of the lanes, rounded up, to try after an out-of-memory error.

    Raises:
      Exception: `error`, if it is of another kind or there is only one lane.
    """
    out_of_memory = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
    if not out_of_memory or lanes == 1:
        raise error
    return -(-lanes // 2)


def split(runs: Sequence[Run], size: int, feed: type[InputPipeline]) -> list[Chunk]:
    """Cut runs into chunks of at most `size`; where images are streamed, of equal `data_seed`."""
    groups: dict[int, list[Run]] = {}
    for run in runs:
        group = int(run.values.data_seed) if feed is Streaming else 0
        groups.setdefault(group, []).append(run)
    return [
        tuple(members[start : start + size])
        for members in groups.values()
        for start in range(0, len(members), size)
    ]


class Unfinished:
    """The chunk of a cohort that was in training when a sweep was killed.

    Checkpoints resume only with the same lanes in the same program. So the ids of the chunk's runs
    are stored beside them, including runs that already have a record: a sweep may be killed while
    it writes records.
    """

    def __init__(self, workdir: Path, cohort: Cohort) -> None:
        self._folder = workdir / "checkpoints" / cohort.id
        self._runs = {run.id: run for run in (*cohort.runs, *cohort.finished)}

    @property
    def checkpoints(self) -> Path:
        """The folder of the chunk's checkpoints."""
        return self._folder / "steps"

    def chunk(self, unfinished: Sequence[Run]) -> tuple[Chunk, int]:
        """Return the chunk to resume and the size of the cohort's chunks; `((), 0)` if none."""
        try:
            note = checksums.read_json(self._folder / "pack.json")
            runs = tuple(self._runs[run_id] for run_id in note["runs"])
            size = int(note["size"])
        except (OSError, ValueError, KeyError, TypeError):
            return (), 0
        wanted = {run.id for run in unfinished}
        return (runs, size) if any(run.id in wanted for run in runs) else ((), 0)

    def begin(self, chunk: Chunk, size: int) -> None:
        """Note which chunk trains; remove checkpoints of another one.

        Where the note is missing or damaged they stay: checkpoints hold the ids of their runs too.

        Raises:
          OSError: the folder cannot be written to.
        """
        note = {"runs": [run.id for run in chunk], "size": size}
        path = self._folder / "pack.json"
        try:
            previous = checksums.read_json(path)
        except (FileNotFoundError, checksums.DamagedError):
            previous = None
        if previous is not None and previous != note:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        if previous != note:
            checksums.write_json(path, note)

    def remove(self) -> None:
        """Remove the cohort's folder, but not its parent: other shards may write there."""
        shutil.rmtree(self._folder, ignore_errors=True)
