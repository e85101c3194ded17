"""The folder of an experiment: a run is trained by one process at a time.

It is a local folder or lies in a bucket, where a local one stands for it: what trains, and what
looks at results, reads and writes files, and asks now and then for them to be brought in line.
"""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from mnv2_jax import atomic
from mnv2_jax.ablation.folder import Workdir
from mnv2_jax.schema import RECORD


def check(where: str | Path) -> None:
    """Checks what can be known of a folder's name, without touching the folder.

    Raises:
      ValueError: it is a URI of no bucket, or what speaks to such buckets is not installed.
    """
    if _in_a_bucket(where):
        from mnv2_jax.ablation.bucket import Bucket  # See `claimed`.

        Bucket(str(where), f"workdir={where}")


@contextlib.contextmanager
def claimed(
    where: str | Path, part: str = "", runs: Collection[str] | None = None
) -> Iterator[Workdir]:
    """Makes the folder if need be, and keeps other processes out while the block runs.

    Where a part is claimed, such as a shard, those that claim other parts are let in. Nothing keeps
    processes of other machines out of a bucket.

    Args:
      where: a local folder, or one in a bucket: gs://BUCKET/PATH or s3://BUCKET/PATH.
      part: of what is done there; empty for the whole.
      runs: ids of the runs whose records matter; by default all.

    Raises:
      ValueError: see `mnv2_jax.atomic.claimed`; it is in no bucket that can be written to.
      OSError: the bucket cannot be reached at the end of the block.
    """
    if _in_a_bucket(where):
        from mnv2_jax.ablation import mirror  # Takes a client of buckets to import.

        with mirror.claimed(str(where), part, runs) as here:
            yield here
    else:
        path = Path(where)
        with atomic.claimed(path, f"workdir={path}", part):
            yield Workdir(path)


@contextlib.contextmanager
def seen(
    where: str | Path, flag: str = "workdir=", files: Collection[str] = RECORD
) -> Iterator[Workdir]:
    """Lets a process look at an experiment while others may train it.

    Args:
      where: see `claimed`.
      flag: what messages begin with, before the folder.
      files: of each record those that matter.

    Raises:
      ValueError: there is no such bucket, or it cannot be read.
    """
    if _in_a_bucket(where):
        from mnv2_jax.ablation import mirror

        with mirror.seen(str(where), flag, files) as here:
            yield here
    else:
        yield Workdir(Path(where))


def _in_a_bucket(where: str | Path) -> bool:
    return "://" in str(where)
