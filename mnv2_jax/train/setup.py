"""Set jax up for a process that trains: its settings, devices and compiled programs."""

import logging
import sys
from pathlib import Path

import jax

from mnv2_jax import cache, cores
from mnv2_jax.train import compilation, inherited, memory, parallel, processes

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
        inherited.set_aside()
        _done.add("settings")
    if keep_programs and ("programs" not in _done or compilation_cache is not None):
        _keep_programs(compilation_cache)
        _done.add("programs")
    if "devices" not in _done:
        _use_all_cores()
        if distributed:
            processes.join()
        inherited.check_devices()
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
