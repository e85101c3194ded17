"""Set up jax for a process: its settings, devices and cache of compiled programs."""

import logging
import os
import sys
from pathlib import Path

import jax

from mnv2_jax import cache, cores
from mnv2_jax.train import compilation, memory, parallel, processes

# The settings that this package's programs are written for.
_SETTINGS = {
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

_OTHER_VARIABLES = ("JAX_PLATFORMS", "JAX_DEFAULT_MATMUL_PRECISION", "XLA_FLAGS")

_done: set[str] = set()
"""The parts of the set-up that this process has done."""


def begin(
    compilation_cache: str | None = None, *, distributed: bool = False, keep_programs: bool = True
) -> None:
    """Set up jax, best before it is first used. Further calls do no harm.

    Args:
      compilation_cache: the folder to cache compiled programs in, or "off"; by default that of an
        earlier call, else one in the user's cache folder.
      distributed: train together with other processes.
      keep_programs: whether to cache compiled programs; commands that do not train need not.

    Raises:
      ValueError: there is too little address space, the folder cannot be made, the processes do not
        find one another, or there is no device.
    """
    if "settings" not in _done:
        memory.check_limit()
        apply_settings()
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
    user_cache = cache.folder()  # Also with "off": a sweep needs it, and a lack is reported early.
    if where == "off":
        compilation.keep_programs(None)
        return
    folder = Path(where) if where else user_cache / "programs"
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
    except RuntimeError:  # jax is in use already, and its devices are fixed.
        count, available = jax.local_device_count(), cores.available()
        if jax.default_backend() == "cpu" and count < available:
            logging.getLogger(__name__).warning(
                f"jax was used before, with {count} CPU device{'s' if count > 1 else ''}: training "
                f"takes {count} of {available} cores; expected this process to call mnv2_jax.api "
                f"before anything else that uses jax"
            )


def environment_variables() -> dict[str, str]:
    """Return the environment variables that affect numbers and programs, as far as they are set."""
    names = (*map(str.upper, _SETTINGS), *_OTHER_VARIABLES)
    return {name: os.environ[name] for name in names if name in os.environ}


def apply_settings() -> None:
    """Give jax the settings that this package needs; warn of variables that differ."""
    for name, value in _SETTINGS.items():
        variable = name.upper()
        before = jax.config.values.get(name)
        jax.config.update(name, value)
        if variable in os.environ and jax.config.values.get(name) != before:
            logging.getLogger(__name__).warning(
                f"{variable}={os.environ[variable]}: ignored, this package sets it to {value}"
            )


def check_devices() -> None:
    """Start jax's backend.

    Raises:
      ValueError: there is no device of `JAX_PLATFORMS`.
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
