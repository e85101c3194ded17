"""Writes shards of a data set in worker processes. TFDS is imported where it is needed."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
import stat
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from mnv2_jax import atomic
from mnv2_jax.data import decode
from mnv2_jax.data.prepare.image_folder import File
from mnv2_jax.data.prepare.image_shards import Bad, Note, Plan, Shard


class Job(NamedTuple):
    """A shard to write, and what a worker has to know for it.

    Attributes:
      root: the folder of images.
      classes: their names.
      shard: the files.
      path: the file to write.
      note_path: where to note that it is complete.
    """

    root: Path
    classes: tuple[str, ...]
    shard: Shard
    path: Path
    note_path: Path


def run(plan: Plan, notes: dict[str, Note], workers: int, progress: Callable[[int], None]) -> None:
    """Writes the shards of a plan that have no note, and adds theirs to `notes`.

    Files that cannot be decoded are left out, and noted.

    Args:
      plan: see `mnv2_jax.data.prepare.image_shards.plan`.
      notes: of the shards that are complete, by name.
      workers: processes; with 1 it is done in this one.
      progress: called with the images that are done.

    Raises:
      ValueError: a file changes meanwhile.
      OSError: a shard cannot be written.
    """
    todo = [shard for shard in plan.shards if shard.name not in notes]
    before = plan.images - sum(len(shard.files) for shard in todo)
    progress(before)
    root, classes = plan.folder.root, plan.folder.classes
    jobs = [
        Job(root, classes, shard, plan.growing / shard.name, plan.note_path(shard))
        for shard in todo
    ]
    write = _write_here if min(workers, len(jobs)) <= 1 else _write_in_workers
    with contextlib.closing(write(jobs, workers, lambda done: progress(before + done))) as written:
        notes.update(written)


Written = tuple[str, Note]
"""A shard's name, and its note."""


def _write_here(
    jobs: list[Job], workers: int, progress: Callable[[int], None]
) -> Generator[Written]:
    images = 0

    def done() -> None:
        nonlocal images
        images += 1
        progress(images)

    for job in jobs:
        yield write_shard(job, done)


def _write_in_workers(
    jobs: list[Job], workers: int, progress: Callable[[int], None]
) -> Generator[Written]:
    # Not by fork, which copies locks that threads of this process may hold.
    context = multiprocessing.get_context("spawn")
    # One count for each job: a lock around a common one could be left by a worker that is killed.
    images = context.RawArray("q", len(jobs))
    # Workers end as soon as the other end is closed: by this process, or by its death.
    ours, lifeline = context.Pipe()
    executor = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(jobs)), context, _begin_worker, (images, lifeline)
    )
    try:
        waiting = {executor.submit(_work, number, job) for number, job in enumerate(jobs)}
        while waiting:
            finished, waiting = concurrent.futures.wait(
                waiting, 0.2, concurrent.futures.FIRST_COMPLETED
            )
            for future in finished:
                yield future.result()
            progress(sum(images))
    except BaseException as error:
        ours.close()
        if isinstance(error, BrokenProcessPool):
            raise OSError(
                "a worker process has died, perhaps for want of memory; run it again to go on"
            ) from None
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        lifeline.close()


_images: Any = None
"""In a worker: the images that are done, for each job."""


def _begin_worker(images: Any, lifeline: Connection) -> None:
    global _images
    _images = images
    # Ctrl-C reaches workers too. It is the main process that ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)  # Whatever it is doing: a shard without its note is done again.


def _work(number: int, job: Job) -> Written:
    def done() -> None:
        _images[number] += 1

    return write_shard(job, done)


def features(classes: tuple[str, ...]) -> Any:
    """What a record holds, as TFDS describes it."""
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=list(classes)),
            "file": tfds.features.Text(doc="Path of the file, relative to the folder."),
        }
    )


def write_shard(job: Job, done: Callable[[], None]) -> Written:
    """Writes a shard, and then its note.

    Args:
      job: what to write, and where.
      done: called for every image.

    Returns:
      The shard's name and its note.

    Raises:
      ValueError: a file has changed since the folder was scanned.
      OSError: it cannot be written.
    """
    from tensorflow_datasets.core import example_serializer, file_adapters

    what = features(job.classes)
    serializer = example_serializer.ExampleSerializer(what.get_serialized_info())
    bad: list[Bad] = []
    lengths: list[int] = []
    images: list[str] = []
    turned: list[bool] = []
    digest = hashlib.sha256()

    def examples() -> Iterator[tuple[int, bytes]]:
        for file in job.shard.files:
            if image := _read(job.root, file, bad):
                data, turns = image
                images.append(hashlib.blake2b(data, digest_size=16).hexdigest())
                turned.append(turns)
                record = {"image": data, "label": file.label, "file": file.path}
                example = serializer.get_tf_example(what.encode_example(record))
                # TFDS's own serialising leaves the order of features to the process.
                example = example.SerializeToString(deterministic=True)
                lengths.append(len(example))
                digest.update(example)
                yield len(lengths), example
            done()

    unfinished = job.path.with_name(f".{job.path.name}.tmp")
    try:
        file_adapters.ArrayRecordFileAdapter.write_examples(unfinished, examples())
    except RuntimeError as error:  # array_record's own, as of a full disk.
        raise OSError(f"{unfinished}: cannot be written ({error})") from error
    with unfinished.open("rb") as written:
        os.fsync(written)
    unfinished.replace(job.path)
    note = Note(
        key=job.shard.key,
        size=job.path.stat().st_size,
        examples=len(lengths),
        example_bytes=sum(lengths),
        digest=digest.hexdigest(),
        images=tuple(images),
        turned=sum(turned),
        bad=tuple(bad),
    )
    atomic.write_text(job.note_path, json.dumps(dataclasses.asdict(note)))
    return job.shard.name, note


def _read(root: Path, file: File, bad: list[Bad]) -> tuple[bytes, bool] | None:
    """A file's bytes, and whether its image is turned as it is decoded; nothing of a bad one."""
    path = root / file.path
    try:
        # A pipe would be waited for, and some devices do not end.
        if not stat.S_ISREG(path.stat().st_mode):
            bad.append(Bad(file.path, "it is no regular file"))
            return None
        data = path.read_bytes()
        status = path.stat()
    except OSError as error:
        bad.append(Bad(file.path, f"it cannot be read: {error.strerror}"))
        return None
    if (len(data), status.st_mtime_ns) != (file.size, file.mtime_ns):
        raise ValueError(f"{path}: it changed while it was read; run it again")
    try:
        return data, decode.check(data)
    except decode.BadImage as error:
        bad.append(Bad(file.path, str(error)))
        return None
