"""The environment of a run, for its record; and its curves, for TensorBoard."""

import functools
import importlib
import importlib.metadata
import platform
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

import mnv2_jax
from mnv2_jax.train import setup
from mnv2_jax.train.callbacks import Callback

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def describe(command: str) -> dict[str, Any]:
    """Describe code version, library versions and hardware, as JSON values.

    Args:
      command: the command line, for the user to repeat.
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
        **({"settings": settings} if (settings := setup.environment_variables()) else {}),
    }


def device_name(devices: list[jax.Device]) -> str:
    """Return kind and number of the devices, such as "cpu x 2"."""
    return f"{devices[0].device_kind} x {len(devices)}"


def load() -> None:
    """Import tensorboardX, which takes seconds where PyTorch is installed, since it imports it.

    Best called while something else is waited for.
    """
    importlib.import_module("tensorboardX")


class TensorBoardWriter(Callback):
    """Writes TensorBoard's event files of runs in training, a folder each, epoch by epoch.

    Existing files of the runs are removed, since a resumed training repeats its first epochs. No
    file stays open: there may be more runs than a process may have open files.

    Raises:
      OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, run_ids: Sequence[str]) -> None:
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
        self._files = [folder / run_id / name for run_id in run_ids]
        for file in self._files:
            shutil.rmtree(file.parent, ignore_errors=True)
            file.parent.mkdir(parents=True)
            file.write_bytes(_event(file_version="brain.Event:2"))

    def on_epoch(self, epoch: int, metrics: Sequence[Mapping[str, Any]]) -> None:
        """Write an epoch's metrics of each run.

        Raises:
          OSError: a file cannot be written to.
        """
        from tensorboardX.proto.summary_pb2 import Summary

        for path, run in zip(self._files, metrics, strict=True):
            values = [
                Summary.Value(tag=name, simple_value=value)
                for name, value in run.items()
                if name != "epoch"
            ]
            with path.open("ab") as file:
                file.write(_event(step=epoch, summary=Summary(value=values)))


def _event(**fields: Any) -> bytes:
    """Return an event as a record of a file: its length and itself, each with a checksum."""
    # Imported late, since it takes seconds; see `load`.
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    data = Event(wall_time=time.time(), **fields).SerializeToString()
    parts = (struct.pack("<Q", len(data)), data)
    return b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in parts)


@functools.cache
def checkout() -> dict[str, Any]:
    """Return the commit of the code and whether the code differs from it; None outside git."""
    folder = Path(mnv2_jax.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            return subprocess.check_output(
                ["git", "-C", folder, *arguments], stderr=subprocess.DEVNULL, text=True
            ).strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    # Untracked code is a change too; the files that runs write are not.
    code = (":/*.py", ":/mnv2_jax")
    changes = git("status", "--porcelain", "--untracked-files=all", "--", *code)
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else changes != ""}


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
