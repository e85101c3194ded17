"""The folder of an experiment: one process at a time writes to it."""

import contextlib
from pathlib import Path

from mnv2_jax import atomic


def claimed(workdir: Path) -> contextlib.AbstractContextManager[None]:
    """Makes the folder if need be, and keeps other processes out while the block runs.

    Raises:
      ValueError: see `mnv2_jax.atomic.claimed`.
    """
    return atomic.claimed(workdir, f"--workdir={workdir}")
