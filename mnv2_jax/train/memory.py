"""The memory available for training, on an accelerator or in the machine."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import jax

from mnv2_jax import cores

_USABLE = 0.8
"""The share of free memory that a program may use: the rest is for what the compiler does not
count, and for what other programs allocate while it runs."""

_GROUPS = Path("/sys/fs/cgroup")

_RESOURCES = ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData"))
"""Limits of a process, with the field of /proc/self/status that counts against each."""

_ADDRESSES = (2_200_000_000, 300_000_000)
"""Bytes of address space that jax and its libraries reserve, mostly unused: in all, and per core
for its threads. With less, jax waits for threads that could not start."""


def check_limit() -> None:
    """Check that `ulimit -v` leaves jax the address space that it reserves.

    Raises:
      ValueError: it does not.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    count = cores.available()
    needed = _ADDRESSES[0] + _ADDRESSES[1] * count
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise ValueError(
            f"ulimit -v {limit // 1024}: jax reserves more address space on {count} cores, though "
            f"it uses little of it; expected {needed // 1024} or more, or unlimited"
        )


def usable(device: jax.Device) -> int:
    """Return the bytes that a program and its data may take on a device.

    On CPU it is the least that the machine, the container (cgroup) and the process's own limits
    leave, shared by all devices.
    """
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return int(_USABLE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    return on_host()


def on_host() -> int:
    """Return the bytes that arrays may take in the machine's own memory; see `usable`."""
    return int(_USABLE * min(_left_on_cpu()))


def _left_on_cpu() -> Iterator[int]:
    yield _field(Path("/proc/meminfo"), "MemAvailable") or (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )
    for maximum, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        bounds = [_number(_GROUPS / name) for name in (maximum, used)]
        if bounds[0] is not None and bounds[1] is not None:
            yield max(bounds[0] - bounds[1], 0)
    for kind, name in _RESOURCES:
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            yield max(limit - (_field(Path("/proc/self/status"), name) or 0), 0)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # Absent, or "max".
        return None


def _field(path: Path, name: str) -> int | None:
    """Return the bytes of a line such as "MemAvailable:  1024 kB" in a file of /proc."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None
    )
