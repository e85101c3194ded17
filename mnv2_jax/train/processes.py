"""Several processes that train together, on one host or many."""

import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def join() -> None:
    """Connect this process to others that train with it.

    jax finds them on a TPU pod and under Slurm, Open MPI and Kubernetes. Elsewhere it reads the
    environment: `JAX_COORDINATOR_ADDRESS` (host:port of the first process), `JAX_NUM_PROCESSES` and
    `JAX_PROCESS_ID` (from 0).

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
    """Return whether this is the process that writes files, of those that train together."""
    return jax.process_index() == 0


def from_primary(tree: Any) -> Any:
    """Return the primary process's tree of arrays or numbers; all have the same structure."""
    return multihost_utils.broadcast_one_to_all(tree) if jax.process_count() > 1 else tree


def max_over_processes(number: int) -> int:
    """Return the largest of the processes' numbers."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())
