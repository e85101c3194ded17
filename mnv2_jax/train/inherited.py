"""Settings of jax that a shell, a notebook or a job hands down by environment variables."""

import logging
import os

import jax

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


def present() -> dict[str, str]:
    """The variables that are set, of those that matter to numbers and programs."""
    names = (*map(str.upper, _OWN), *_HEEDED)
    return {name: os.environ[name] for name in names if name in os.environ}


def set_aside() -> None:
    """Sets jax up as this package needs it, before its use; tells of variables that differ."""
    for name, value in _OWN.items():
        variable = name.upper()
        before = jax.config.values.get(name)
        jax.config.update(name, value)
        if variable in os.environ and jax.config.values.get(name) != before:
            logging.getLogger(__name__).warning(
                "%s=%s: set aside, it is %s here", variable, os.environ[variable], value
            )


def check_devices() -> None:
    """Starts jax's backend.

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
