"""The memory that there is for training, on an accelerator or in the machine."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import jax

from mnv2_jax import cores

_USABLE = 0.8
"""The share of what is free that a program is given: the rest is for what the compiler does not
count, and for what other programs take while it runs."""

_GROUPS = Path("/sys/fs/cgroup")

_RESOURCES = ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData"))


_ADDRESSES = (2_200_000_000, 300_000_000)
"""Bytes of address space that jax and its libraries set aside, however little of it they use: in
all, and for the threads of a core. With less, threads that cannot be started are waited for."""


def check_limit() -> None:
    """Check that `ulimit -v` leaves jax the address space that it sets aside.

    Raises:
      ValueError: it does not.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    count = cores.available()
    needed = _ADDRESSES[0] + _ADDRESSES[1] * count
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise ValueError(
            f"ulimit -v {limit // 1024}: jax sets more address space aside on {count} cores, "
            f"however little of it is used; expected {needed // 1024} or more, or unlimited"
        )


def usable(device: jax.Device) -> int:
    """Bytes that a program and its data may take on `device`; CPU devices share the machine's.

    On CPU it is the least of what the machine, the container (cgroup) and the process's own limits
    leave.
    """
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return int(_USABLE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    return on_host()


def on_host() -> int:
    """Bytes that arrays may take in the machine itself; see `usable`."""
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
    """Return the bytes that a line such as "MemAvailable:  1024 kB" of a file of /proc tells."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None
    )
