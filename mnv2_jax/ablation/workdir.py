"""The folder of an experiment: a run is trained by one process at a time."""

import contextlib
from pathlib import Path

from mnv2_jax import atomic
from mnv2_jax.ablation.shards import Shard


def claimed(workdir: Path, shard: Shard | None = None) -> contextlib.AbstractContextManager[None]:
    """Makes the folder if need be, and keeps other processes out while the block runs.

    Other shards of the same job array are let in.

    Raises:
      ValueError: see `mnv2_jax.atomic.claimed`.
    """
    part = f"{shard.number}-of-{shard.of}" if shard else ""
    return atomic.claimed(workdir, f"--workdir={workdir}", part)
