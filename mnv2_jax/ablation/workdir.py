"""The folder of an experiment: a run is trained by one process at a time.

It is a local folder or lies in a bucket, where a local one, the mirror, stands for it: what trains,
and what looks at results, reads and writes files, and asks now and then for them to be brought in
line.
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
from mnv2_jax.schema import NETWORK, RECORD

if TYPE_CHECKING:  # Imported where it is used: commands that read a local folder need no jax.
    from mnv2_jax.ablation.bucket import Bucket

_SECONDS_BETWEEN = 15.0


@dataclasses.dataclass(frozen=True)
class Workdir:
    """An experiment's folder, as this process sees it.

    Attributes:
      path: where its files are read and written.
      files: of each record those that are there.
      bucket: that it is the mirror of.
    """

    path: Path
    files: Collection[str] = RECORD
    bucket: "Bucket | None" = None

    @property
    def location(self) -> str:
        """The path or URI that processes elsewhere find it by."""
        return self.bucket.uri if self.bucket else str(self.path.resolve())

    def shown(self, text: object) -> str:
        """Return a text that may name files of the folder, as the user knows them."""
        return str(text).replace(str(self.path), self.bucket.uri) if self.bucket else str(text)

    def sync(self) -> bool:
        """Share what was written here, then bring what others wrote.

        Returns:
          Whether that holds records of runs. Where all write to one folder there is nothing to do.

        Raises:
          OSError: the bucket cannot be reached.
        """
        if self.bucket is None:
            return False
        self.bucket.push()
        return self.bucket.pull()


def check_location(where: str | Path) -> None:
    """Check what can be known of a folder's name, without touching the folder.

    Raises:
      ValueError: it is a URI of no bucket, or what speaks to such buckets is not installed.
    """
    if _in_a_bucket(where):
        from mnv2_jax.ablation.bucket import Bucket

        Bucket(str(where), f"workdir={where}", Path())


@contextlib.contextmanager
def claimed(
    where: str | Path, part: str = "", runs: Collection[str] | None = None
) -> Iterator[Workdir]:
    """Make the folder if need be, and keep other processes out while the block runs.

    Where a part is claimed, such as a shard, those that claim other parts are let in. Nothing keeps
    processes of other machines out of a bucket; what is written is copied there now and then, so
    that others see how far training is, and at the end.

    Args:
      where: a local folder, or one in a bucket: gs://BUCKET/PATH or s3://BUCKET/PATH.
      part: of what is done there; empty for the whole.
      runs: ids of the runs whose records matter; by default all.

    Raises:
      ValueError: see `mnv2_jax.atomic.claimed`; it is in no bucket that can be read.
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
    with atomic.claimed(path, f"{field}: {path}, which stands for it here"):
        bucket.open()
        here = Workdir(path, bucket=bucket)
        with _shown(here), _pushed(bucket):
            yield here


@contextlib.contextmanager
def seen(
    where: str | Path, flag: str = "workdir=", files: Collection[str] = (*RECORD, NETWORK)
) -> Iterator[Workdir]:
    """Let a process look at an experiment while others may train it.

    Args:
      where: see `claimed`.
      flag: what messages begin with, before the folder.
      files: of each run those that matter.

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
        here = Workdir(Path(folder), files, bucket)
        with _shown(here):
            yield here


def mirror(uri: str, part: str) -> Path:
    """Return the local folder that stands for one in a bucket, or for a part of its work."""
    text = f"{uri.rstrip('/')} {part}"
    name = re.sub(r"\W+", "_", text).strip("_")[-80:]
    digits = hashlib.sha256(text.encode()).hexdigest()[:12]
    return cache.folder() / "mirrors" / f"{name}-{digits}"


def _in_a_bucket(where: str | Path) -> bool:
    return "://" in str(where)


@contextlib.contextmanager
def _pushed(bucket: "Bucket") -> Iterator[None]:
    """Push now and then and, however the block ends, at the end."""
    ended = threading.Event()

    def push() -> None:
        while not ended.wait(_SECONDS_BETWEEN):
            with contextlib.suppress(OSError):  # It is tried again.
                bucket.push()

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # What ended the block is told.
            bucket.push()
        raise
    else:
        bucket.push()
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _shown(here: Workdir) -> Iterator[None]:
    """Let errors name the bucket where they name the mirror."""
    try:
        yield
    except ValueError as error:
        if str(here.path) not in str(error):
            raise
        raise ValueError(here.shown(error)) from error
