"""Set jax up for a process: its settings, devices and compiled programs."""

import logging
import os
import sys
from pathlib import Path

import jax

from mnv2_jax import cache, cores
from mnv2_jax.train import compilation, memory, parallel, processes

# What programs, numbers and records here are made for.
_OWN = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_disable_jit": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_no_tracing": False,
    "jax_transfer_guard_host_to_device": "allow",
    "jax_transfer_guard_device_to_host": "allow",
    "jax_transfer_guard_device_to_device": "allow",
    "jax_transfer_guard": "allow",
}

_HEEDED = ("JAX_PLATFORMS", "JAX_DEFAULT_MATMUL_PRECISION", "XLA_FLAGS")

_done: set[str] = set()
"""The set-up that this process has done."""


def begin(
    compilation_cache: str | None = None, *, distributed: bool = False, keep_programs: bool = True
) -> None:
    """Set jax up, best before it is first used. Once is enough; calling it again does no harm.

    Args:
      compilation_cache: the folder that compiled programs are kept in, or "off"; by default the one
        of an earlier call, else one in the user's cache folder.
      distributed: start this process as one of several that train together.
      keep_programs: whether compiled programs are kept: what does not train needs no such folder.

    Raises:
      ValueError: there is too little address space, the folder cannot be made, the processes do not
        find one another, or there is no device.
    """
    if "settings" not in _done:
        memory.check_limit()
        set_aside()
        _done.add("settings")
    if keep_programs and ("programs" not in _done or compilation_cache is not None):
        _keep_programs(compilation_cache)
        _done.add("programs")
    if "devices" not in _done:
        _use_all_cores()
        if distributed:
            processes.join()
        check_devices()
        _done.add("devices")


def _keep_programs(where: str | None) -> None:
    cached = cache.folder()  # Needed at the end at last; that there is none is told before.
    if where == "off":
        compilation.keep_programs(None)
        return
    folder = Path(where) if where else cached / "programs"
    try:
        compilation.keep_programs(folder, lambda line: print(line, file=sys.stderr))
    except OSError as error:
        raise ValueError(
            f"compilation_cache={folder}: cannot be made ({error.strerror}); expected a folder to "
            f"write to, or 'off'"
        ) from None


def _use_all_cores() -> None:
    try:
        parallel.use_all_cores()
    except RuntimeError:  # jax is in use already, with the devices that it has.
        count, available = jax.local_device_count(), cores.available()
        if jax.default_backend() == "cpu" and count < available:
            logging.getLogger(__name__).warning(
                "jax was used before, with %d CPU device%s: training takes %d of %d cores; "
                "expected this process to call mnv2_jax.api before anything else that uses jax",
                *(count, "" if count == 1 else "s", count, available),
            )


def present() -> dict[str, str]:
    """Return the environment variables that matter to numbers and programs, where they are set."""
    names = (*map(str.upper, _OWN), *_HEEDED)
    return {name: os.environ[name] for name in names if name in os.environ}


def set_aside() -> None:
    """Give jax the settings that this package needs; warn of variables that say otherwise."""
    for name, value in _OWN.items():
        variable = name.upper()
        before = jax.config.values.get(name)
        jax.config.update(name, value)
        if variable in os.environ and jax.config.values.get(name) != before:
            logging.getLogger(__name__).warning(
                "%s=%s: set aside, it is %s here", variable, os.environ[variable], value
            )


def check_devices() -> None:
    """Start jax's backend.

    Raises:
      ValueError: `JAX_PLATFORMS` names none that there is here.
    """
    asked = os.environ.get("JAX_PLATFORMS")
    try:
        jax.devices()
    except (RuntimeError, AssertionError):
        if not asked:
            raise
        raise ValueError(
            f"JAX_PLATFORMS={asked}: there is no such device here, or jax for it is not installed; "
            f"expected cpu, or the variable unset"
        ) from None
