"""Several processes that train together, on one host or many."""

import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def join() -> None:
    """Start this process as one of several that train together.

    On a TPU pod or under Slurm, Open MPI or Kubernetes the others are found; elsewhere the
    environment tells: `JAX_COORDINATOR_ADDRESS` (host:port of the first process),
    `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` (from 0).

    Raises:
      ValueError: the processes do not find one another.
    """
    count, number = (os.environ.get(f"JAX_{name}") for name in ("NUM_PROCESSES", "PROCESS_ID"))
    try:
        jax.distributed.initialize(
            num_processes=None if count is None else int(count),
            process_id=None if number is None else int(number),
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"distributed: {error} Expected a cluster that jax knows, or JAX_NUM_PROCESSES, "
            f"JAX_PROCESS_ID and JAX_COORDINATOR_ADDRESS in the environment"
        ) from None


def is_primary() -> bool:
    """Return whether this process is the one that writes, of those that train together."""
    return jax.process_index() == 0


def from_primary(tree: Any) -> Any:
    """Give what the primary process holds: arrays or numbers, of one structure in all processes."""
    return multihost_utils.broadcast_one_to_all(tree) if jax.process_count() > 1 else tree


def of_any_process(number: int) -> int:
    """Return the largest of the numbers that the processes hold, 0 or more each."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())
