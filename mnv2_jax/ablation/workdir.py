"""The folder of an experiment, which one process at a time may claim.

It is a local folder, or lies in a bucket and has a local mirror: training and analysis read and
write local files, which are copied to and from the bucket from time to time.
"""

import contextlib
import dataclasses
import hashlib
import re
import tempfile
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2_jax import atomic, cache
from mnv2_jax.schema import BESIDE_RECORDS, RECORD

if TYPE_CHECKING:  # Imported where it is used: local folders are read without jax.
    from mnv2_jax.ablation.bucket import Bucket

_SECONDS_BETWEEN = 15.0


@dataclasses.dataclass(frozen=True)
class Workdir:
    """An experiment's folder.

    Attributes:
      path: the local folder.
      files: the files of each record that it has.
      bucket: the bucket that it mirrors; None for a local folder.
    """

    path: Path
    files: Collection[str] = RECORD
    bucket: "Bucket | None" = None

    @property
    def location(self) -> str:
        """The path or URI by which other processes find it."""
        return self.bucket.uri if self.bucket else str(self.path.resolve())

    def shown(self, text: object) -> str:
        """Replace the mirror's path in a text by the bucket's URI."""
        return str(text).replace(str(self.path), self.bucket.uri) if self.bucket else str(text)

    def sync(self) -> bool:
        """Push local changes to the bucket, then pull those of others.

        Returns:
          Whether new records of runs came. A local folder needs no copies.

        Raises:
          OSError: the bucket cannot be reached.
        """
        if self.bucket is None:
            return False
        self.bucket.push()
        return self.bucket.pull()


def check_location(where: str | Path) -> None:
    """Check the name of a folder without accessing it.

    Raises:
      ValueError: it is a URI of no bucket, or the client for such buckets is not installed.
    """
    if _in_a_bucket(where):
        from mnv2_jax.ablation.bucket import Bucket

        Bucket(str(where), f"workdir={where}", Path())


@contextlib.contextmanager
def claimed(
    where: str | Path, part: str = "", runs: Collection[str] | None = None
) -> Iterator[Workdir]:
    """Create the folder if necessary, and keep other processes out while the block runs.

    Processes that claim other parts, such as shards, are let in. Nothing keeps processes of other
    machines out of a bucket. Changes are pushed to it every 15 seconds and at the end.

    Args:
      where: a local folder, or one in a bucket: gs://BUCKET/PATH or s3://BUCKET/PATH.
      part: name of the part to claim; "" claims the whole folder.
      runs: ids of the runs to pull from a bucket; by default all.

    Raises:
      ValueError: see `mnv2_jax.atomic.claimed`; or the bucket cannot be read.
      OSError: the bucket cannot be written to at the end of the block.
    """
    field = f"workdir={where}"
    if not _in_a_bucket(where):
        with atomic.claimed(Path(where), field, part):
            yield Workdir(Path(where))
        return
    from mnv2_jax.ablation.bucket import Bucket

    path = mirror(str(where), part)
    bucket = Bucket(str(where), field, path, runs=runs)
    with atomic.claimed(path, f"{field}: {path}, its local mirror"):
        bucket.open()
        mirrored = Workdir(path, bucket=bucket)
        with _bucket_in_errors(mirrored), _pushing(bucket):
            yield mirrored


@contextlib.contextmanager
def seen(
    where: str | Path, flag: str = "workdir=", files: Collection[str] = (*RECORD, *BESIDE_RECORDS)
) -> Iterator[Workdir]:
    """Open an experiment's folder for reading; other processes may train in it.

    Args:
      where: see `claimed`.
      flag: the beginning of error messages, before the folder.
      files: the files of each run to pull from a bucket.

    Raises:
      ValueError: there is no such bucket, or it cannot be read.
    """
    if not _in_a_bucket(where):
        yield Workdir(Path(where))
        return
    from mnv2_jax.ablation.bucket import Bucket

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        bucket = Bucket(str(where), f"{flag}{where}", Path(folder), files)
        bucket.open()
        mirrored = Workdir(Path(folder), files, bucket)
        with _bucket_in_errors(mirrored):
            yield mirrored


def mirror(uri: str, part: str) -> Path:
    """Return the local mirror of a folder in a bucket, for a process that claims a part of it."""
    text = f"{uri.rstrip('/')} {part}"
    name = re.sub(r"\W+", "_", text).strip("_")[-80:]
    digits = hashlib.sha256(text.encode()).hexdigest()[:12]
    return cache.folder() / "mirrors" / f"{name}-{digits}"


def _in_a_bucket(where: str | Path) -> bool:
    return "://" in str(where)


@contextlib.contextmanager
def _pushing(bucket: "Bucket") -> Iterator[None]:
    """Push every 15 seconds and, however the block ends, at the end."""
    ended = threading.Event()

    def push() -> None:
        while not ended.wait(_SECONDS_BETWEEN):
            with contextlib.suppress(OSError):  # The next push tries again.
                bucket.push()

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # The error of the block is raised.
            bucket.push()
        raise
    else:
        bucket.push()
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _bucket_in_errors(folder: Workdir) -> Iterator[None]:
    """Let errors name the bucket instead of the mirror."""
    try:
        yield
    except ValueError as error:
        if str(folder.path) not in str(error):
            raise
        raise ValueError(folder.shown(error)) from error
