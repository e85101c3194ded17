"""Where and with what a run was made."""

import functools
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

import mnv2_jax

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "tensorflow-datasets")


def environment(command: str) -> dict[str, Any]:
    """Code version, library versions and hardware, as JSON values.

    Args:
      command: the command line that the user would repeat.
    """
    devices = jax.local_devices()
    return {
        "command": command,
        "mnv2_jax": mnv2_jax.__version__,
        **_checkout(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "platform": platform.platform(),
        "processor": _processor(),
        "device": device_name(devices),
    }


def device_name(devices: list[jax.Device]) -> str:
    """The kind of the devices and how many there are, such as "cpu x 2"."""
    return f"{devices[0].device_kind} x {len(devices)}"


@functools.cache
def _checkout() -> dict[str, Any]:
    """The commit of the code that runs and whether it was changed since; null outside of git."""
    folder = Path(mnv2_jax.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    # A module or a config that git does not know yet is a change too; what runs wrote is none.
    code = (":/*.py", ":/mnv2_jax")
    changes = git("status", "--porcelain", "--untracked-files=all", "--", *code)
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else changes != ""}


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
