"""Heartbeats of training, a file per chunk that other processes read."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv2_jax import atomic, checksums

_SECONDS_BETWEEN = 5.0
_SILENT_SECONDS = 120.0
"""A process on another host counts as dead when its last heartbeat is older."""

_FOLDER = "training"


@dataclass(frozen=True)
class Beat:
    """A heartbeat.

    Attributes:
      cohort: label of the cohort.
      runs: ids of the runs in training.
      step: steps done.
      steps: steps in all.
      pid: of the process.
      started: start time of the process; a later process may have the same pid.
      host: name of the process's host.
      time: in seconds since 1970.
    """

    cohort: str
    runs: tuple[str, ...]
    step: int
    steps: int
    pid: int
    started: str
    host: str
    time: float

    def alive(self) -> bool:
        """Return whether the process is alive; on another host, whether it was two minutes ago."""
        if self.host != socket.gethostname():
            return time.time() - self.time < _SILENT_SECONDS
        return atomic.is_alive(self.pid, self.started)


class Heartbeat:
    """Writes the heartbeats of a chunk in training."""

    def __init__(self, workdir: Path, chunk: str, cohort: str, runs: Sequence[str]) -> None:
        self._path = workdir / _FOLDER / f"{chunk}.json"
        self._cohort = cohort
        self._runs = tuple(runs)
        self._host = socket.gethostname()
        self._started = atomic.started(os.getpid())
        self._next = 0.0

    def beat(self, step: int, steps: int) -> None:
        """Write a heartbeat, if the last one is five seconds old.

        Raises:
          OSError: the folder cannot be written to.
        """
        now = time.time()
        if now >= self._next:
            self._next = now + _SECONDS_BETWEEN
            beat = Beat(
                cohort=self._cohort,
                runs=self._runs,
                step=step,
                steps=steps,
                pid=os.getpid(),
                started=self._started,
                host=self._host,
                time=round(now, 1),
            )
            checksums.write_json(self._path, asdict(beat))

    def end(self) -> None:
        """Remove the file; the folder stays, since other processes may write there."""
        self._path.unlink(missing_ok=True)


def beats(workdir: Path) -> Iterator[Beat]:
    """Return the heartbeats in an experiment's folder, including those of dead processes."""
    return filter(None, map(_read, sorted((workdir / _FOLDER).glob("*.json"))))


def remove_dead(workdir: Path) -> None:
    """Remove the heartbeats of dead processes; those of other machines may be alive.

    Raises:
      OSError: the folder cannot be written to.
    """
    for path in (workdir / _FOLDER).glob("*"):
        beat = _read(path)
        if beat is None or not beat.alive():
            atomic.remove(path)


def _read(path: Path) -> Beat | None:
    """Return a heartbeat; None if its file is gone or damaged: it is soon rewritten."""
    try:
        fields = checksums.read_json(path)
        return Beat(**{**fields, "runs": tuple(fields["runs"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
