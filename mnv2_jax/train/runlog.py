"""What a run leaves beside its results: where and with what it was made, and curves to watch."""

import functools
import importlib
import importlib.metadata
import logging
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

import mnv2_jax

_LIBRARIES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets"),
)


def environment(command: str) -> dict[str, Any]:
    """Code version, library versions and hardware, as JSON values.

    Args:
      command: the command line that the user would repeat.
    """
    return {
        "command": command,
        "mnv2_jax": mnv2_jax.__version__,
        **checkout(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "platform": platform.platform(),
        "processor": _processor(),
        "device": device_name(jax.devices()),
    }


def device_name(devices: list[jax.Device]) -> str:
    """The kind of the devices and how many there are, such as "cpu x 2"."""
    return f"{devices[0].device_kind} x {len(devices)}"


def load() -> None:
    """Imports what `Board` needs: seconds where PyTorch is installed, which tensorboardX imports.

    Best called while something else has to be waited for.
    """
    importlib.import_module("tensorboardX")


class Board:
    """TensorBoard's event files of runs in training, a folder each, written epoch by epoch."""

    def __init__(self, folder: Path, run_ids: Sequence[str]) -> None:
        """Begins the runs' curves anew: what is restored is written again.

        Raises:
          OSError: the folder cannot be written to.
        """
        from tensorboardX import SummaryWriter  # Not every machine that trains has it to import.

        # It warns of every number that is none; that a run diverged is told once, at the end.
        logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
        self._writers = []
        for run_id in run_ids:
            shutil.rmtree(folder / run_id, ignore_errors=True)
            self._writers.append(SummaryWriter(str(folder / run_id), flush_secs=10))

    def write(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        """Writes an epoch's metrics of each run; they have its number, "epoch", among them."""
        for writer, of_run in zip(self._writers, metrics, strict=True):
            for name, value in of_run.items():
                if name != "epoch":
                    writer.add_scalar(name, value, of_run["epoch"])

    def close(self) -> None:
        """Writes out what is held back."""
        for writer in self._writers:
            writer.close()


@functools.cache
def checkout() -> dict[str, Any]:
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
