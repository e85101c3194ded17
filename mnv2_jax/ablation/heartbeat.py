"""Signs of life of what is in training, for others to see: a file per chunk, renewed meanwhile."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv2_jax import atomic, checksums

_SECONDS_BETWEEN = 5.0
_SILENT_SECONDS = 120.0
"""A training on another host that was not heard of for longer is taken for stopped."""

_FOLDER = "training"


@dataclass(frozen=True)
class Beat:
    """A sign of life.

    Attributes:
      cohort: the label of the runs' cohort.
      runs: their ids.
      step: steps done.
      steps: steps in all.
      pid: of the process that trains them.
      started: when that process began; what tells it from a later one of the same pid.
      host: its name.
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
        """Return whether the training still goes on, as far as can be told from here."""
        if self.host != socket.gethostname():
            return time.time() - self.time < _SILENT_SECONDS
        return atomic.is_alive(self.pid, self.started)


class Heartbeat:
    """Gives signs of life of a chunk in training."""

    def __init__(self, workdir: Path, chunk: str, cohort: str, runs: Sequence[str]) -> None:
        """Begin.

        Args:
          workdir: the experiment's folder.
          chunk: names the file.
          cohort: see `Beat`.
          runs: see `Beat`.
        """
        self._path = workdir / _FOLDER / f"{chunk}.json"
        self._cohort = cohort
        self._runs = tuple(runs)
        self._host = socket.gethostname()
        self._started = atomic.started(os.getpid())
        self._next = 0.0

    def beat(self, step: int, steps: int) -> None:
        """Tell how far it is, now and then.

        Raises:
          OSError: the folder cannot be written to.
        """
        now = time.time()
        if now >= self._next:
            self._next = now + _SECONDS_BETWEEN
            beat = Beat(
                *(self._cohort, self._runs, step, steps, os.getpid(), self._started, self._host),
                time=round(now, 1),
            )
            checksums.write_json(self._path, asdict(beat))

    def end(self) -> None:
        """Take the sign away; the folder stays, since others may be about to write to it."""
        self._path.unlink(missing_ok=True)


def beats(workdir: Path) -> Iterator[Beat]:
    """Return the signs of life in an experiment's folder, those of dead processes included."""
    return filter(None, map(_read, sorted((workdir / _FOLDER).glob("*.json"))))


def remove_dead(workdir: Path) -> None:
    """Remove the signs of life of what has stopped; in a bucket others may be at work.

    Raises:
      OSError: the folder cannot be written to.
    """
    for path in (workdir / _FOLDER).glob("*"):
        beat = _read(path)
        if beat is None or not beat.alive():
            atomic.remove(path)


def _read(path: Path) -> Beat | None:
    """Return a sign of life; None if it ended, or is damaged: it is written anew in seconds."""
    try:
        found = checksums.read_json(path)
        return Beat(**{**found, "runs": tuple(found["runs"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
