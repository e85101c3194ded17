"""The folder of an experiment: a run is trained by one process at a time."""

import contextlib
from pathlib import Path

from mnv2_jax import atomic


def claimed(workdir: Path, part: str = "") -> contextlib.AbstractContextManager[None]:
    """Makes the folder if need be, and keeps other processes out while the block runs.

    Where a part is claimed, such as a shard, those that claim other parts are let in.

    Raises:
      ValueError: see `mnv2_jax.atomic.claimed`.
    """
    return atomic.claimed(workdir, f"--workdir={workdir}", part)
