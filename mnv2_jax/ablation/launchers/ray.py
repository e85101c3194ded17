"""Trains a grid on a Ray cluster, a task per chunk of a cohort. The only module that knows Ray.

Every machine of the cluster needs this checkout at the same path, the same environment, and access
to the workdir, as a folder or in a bucket. A task is a pickled job: it trains its runs and writes
checkpoints and records. If its worker dies, Ray starts it again elsewhere, where it resumes from
the checkpoint. With a workdir in a bucket, checkpoints stay on their machine, and a task on another
one starts anew.
"""

import contextlib
import dataclasses
import importlib
import math
import os
import pickle
import secrets
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mnv2_jax.ablation import finished, status
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.job import Job
from mnv2_jax.ablation.launchers.base import Launcher, Watch
from mnv2_jax.ablation.launchers.shards import pieces
from mnv2_jax.ablation.sweep import Outcome
from mnv2_jax.train.preemption import Interrupted, StopRequest

_RETRIES = 3
_SECONDS_BETWEEN_LINES = 15.0


@dataclasses.dataclass(frozen=True)
class Slots:
    """The capacity of a cluster.

    Attributes:
      count: tasks that run at the same time.
      cpus: per task.
      gpus: per task.
    """

    count: int
    cpus: float
    gpus: float

    def __str__(self) -> str:
        what = "GPU" if self.gpus else "machine"
        return f"{self.count} {what}{'' if self.count == 1 else 's'}"


class Ray(Launcher):
    """Trains on a Ray cluster, a task per chunk of a cohort.

    `address` is that of the cluster, or "auto" on one of its machines; None starts a cluster on
    this machine for the duration of a job.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address

    def launch(self, job: Job, watch: Watch) -> Outcome:
        """See `Launcher`.

        Raises:
          ValueError: Ray is not installed, or there is no such cluster.
          Interrupted: a signal came; training resumes from checkpoints the next time.
        """
        if not job.parts:
            return Outcome(trained=0, failed=0)
        # Ray replaces signal handlers when it starts.
        with _stoppable(watch.stop), _connected(self._address) as ray, watch.stop.listening():
            room = slots(ray.nodes())
            each = math.ceil(room.count / len(job.cohorts))
            chunks = [chunk for cohort in job.cohorts for chunk in pieces(cohort, each)]
            chunks.sort(key=lambda chunk: chunk.work, reverse=True)  # The longest do not come last.
            watch.say(f"Ray: {len(chunks)} chunks on {room}")
            task = ray.remote(
                num_cpus=room.cpus, num_gpus=room.gpus, max_calls=1, max_retries=_RETRIES
            )(_task())
            waiting = {
                task.remote(pickle.dumps(job.with_cohorts([chunk]))): chunk for chunk in chunks
            }
            _await(ray, watch, waiting)
        unfinished = finished.remaining(watch.workdir.path, job.cohorts)
        failed = sum(len(cohort.runs) for cohort in unfinished)
        return Outcome(sum(len(cohort.runs) for cohort in job.cohorts) - failed, failed)


@contextlib.contextmanager
def _stoppable(stop: StopRequest) -> Iterator[None]:
    """Postpone the exceptions of signals, which Ray's code would turn into a SystemError.

    `_await` checks `stop.signal` itself. A second signal raises at once.
    """
    try:
        with stop.postponed():
            yield
    except SystemError:
        if stop.signal:
            raise _interrupted(stop) from None
        raise


def _interrupted(stop: StopRequest) -> Interrupted:
    return Interrupted(stop.signal, "what was in training goes on from its last checkpoint")


def _task() -> Callable[[bytes], None]:
    """Return the function of a task; workers import this package from the same path as here."""
    folder, path = str(Path.cwd()), [*sys.path]

    def task(job: bytes) -> None:
        os.chdir(folder)
        sys.path[:] = dict.fromkeys([folder, *path, *sys.path])
        from mnv2_jax.ablation.launchers import local

        local.train_for_another(pickle.loads(job))

    return task


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ValueError(
            "launcher=ray: Ray is not installed; expected pip install -e '.[sweep]'"
        ) from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        _check_answers(address)
    else:
        # Else Ray writes a token into the home folder, which every later cluster then asks for.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        with _silent_stderr(), warnings.catch_warnings():
            # jax warns of forks; Ray's forked processes execute another program at once.
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            # Without an address Ray would connect to any cluster that runs here.
            ray.init(
                address or "local",
                log_to_driver=False,
                logging_level="ERROR",
                **({} if address else {"include_dashboard": False}),
            )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.AuthenticationError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        if not address:
            raise ValueError(f"launcher=ray: no cluster can be started here: {reason}") from None
        raise ValueError(
            f"ray_address={address}: no cluster there lets this process in; expected a running "
            f"one and, if it asks for a token, RAY_AUTH_MODE=token and the same ~/.ray/auth_token "
            f"on every machine ({reason})"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what Ray's C++ code prints to stderr every second until it raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_answers(address: str) -> None:
    """Refuse an address without a server within seconds; Ray tries for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise ValueError(
                f"ray_address={address}: no cluster answers there ({error.strerror or error}); "
                f"expected HOST:PORT of one, or auto"
            ) from None


def slots(nodes: Sequence[dict[str, Any]]) -> Slots:
    """Return one slot per GPU; without GPUs one per machine, since jax uses all of its cores."""
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = sum(int(of_node.get("GPU", 0)) for of_node in resources)
    if gpus:
        return Slots(gpus, cpus=1, gpus=1)
    cores = [of_node["CPU"] for of_node in resources if of_node.get("CPU")]
    cpus = min(cores)
    return Slots(sum(int(count // cpus) for count in cores), cpus=cpus, gpus=0)


def _await(ray: Any, watch: Watch, waiting: dict[Any, Cohort]) -> None:
    """Wait for all tasks; the error of one is recorded with its runs and stops no other."""
    count = len(waiting)
    last_line = time.perf_counter()
    while waiting:
        if watch.stop.signal:
            raise _interrupted(watch.stop)
        ended, _ = ray.wait(list(waiting), timeout=1.0)
        for reference in ended:
            chunk = waiting.pop(reference)
            error = _error(ray, reference)
            if error:
                finished.note_failure(watch.workdir.path, chunk, error)
            watch.recorded()
            how = f"failed: {error}" if error else "done"
            watch.say(
                f"chunk {count - len(waiting)} of {count} ({chunk}), {len(chunk.runs)} lanes: {how}"
            )
        if time.perf_counter() - last_line > _SECONDS_BETWEEN_LINES:
            last_line = time.perf_counter()
            watch.recorded()
            watch.say(_in_training(watch.workdir.path, len(waiting)))


def _error(ray: Any, reference: Any) -> str:
    """Return the error of a task as one line; "" if it has none."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        return " ".join(str(cause).split()) or type(cause).__name__
    except ray.exceptions.RayError as error:
        first = str(error).splitlines()[0]
        return f"its worker died {_RETRIES + 1} times: {first}"
    return ""


def _in_training(workdir: Path, waiting: int) -> str:
    training = [beat for beat in status.read(workdir)["training"] if beat["alive"]]
    parts = [f"{beat['cohort']} step {beat['step']} of {beat['steps']}" for beat in training]
    return f"in training: {'; '.join(parts) or 'none yet'}; {waiting - len(training)} chunks wait"
