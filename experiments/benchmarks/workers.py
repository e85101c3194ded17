"""Processes for peers, which run tasks side by side.

In a process of its own, a peer's threads, environment and faults affect nothing else; one that
cannot be imported, or that crashes, is reported as absent.
"""

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]


class Unavailable(Exception):
    """A peer cannot run a task; the message is the reason, in one line."""


class Pool:
    """Equal processes that run the same tasks.

    Attributes:
      count: how many.
      how: number of processes and threads, as text.
    """

    def __init__(
        self, count: int, threads: int, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the processes.

        Args:
          count: how many.
          threads: of each, for libraries that ask OpenMP.
          environment: more variables for them.
        """
        self.count = count
        self.how = f"{_counted(count, 'process', 'es')} of {_counted(threads, 'thread', 's')}"
        variables = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            # A library that preallocates a GPU's memory leaves none to others.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            **(environment or {}),
        }
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "experiments.benchmarks.workers"],
                cwd=ROOT,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(count)
        ]

    def prepare(self, task: str, *arguments: Any) -> Callable[[], list[Any]]:
        """Prepare the same task in every process; see `prepare_each`."""
        return self.prepare_each(task, [arguments] * self.count)

    def prepare_each(
        self, task: str, arguments: Sequence[Sequence[Any]]
    ) -> Callable[[], list[Any]]:
        """Prepare a task in every process, in addition to earlier ones.

        Args:
          task: "module:function". The function returns the task, a function without arguments.
          arguments: of the function, for each process.

        Returns:
          A function that runs the task in all processes at once and returns each one's result.

        Raises:
          Unavailable: it cannot be imported, or fails.
        """
        number = self._ask([(task, tuple(own)) for own in arguments])[0]
        return lambda: self._ask([number] * self.count)

    def forget(self) -> None:
        """Drop the tasks of every process, and their memory."""
        self._ask([None] * self.count)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.communicate()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, messages: Sequence[Any]) -> list[Any]:
        try:
            for process, message in zip(self._processes, messages, strict=True):
                pickle.dump(message, _pipe(process.stdin))
                _pipe(process.stdin).flush()
            answers = [pickle.load(_pipe(process.stdout)) for process in self._processes]
        except (OSError, EOFError):
            self.close()
            raise Unavailable("its process ended before it answered") from None
        for failed, value in answers:
            if failed:
                raise Unavailable(value)
        return [value for _, value in answers]


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    """Narrow the type of a pipe that `Popen` was asked to open."""
    assert pipe is not None
    return pipe


def _counted(count: int, noun: str, plural: str) -> str:
    return f"{count} {noun}{plural if count > 1 else ''}"


def _serve() -> None:
    """Answer the parent's messages until it closes the pipe.

    A message is a task to add, the number of a task to run, or None to drop all. An answer is
    whether that failed, and the result or the reason.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Output of libraries must not mix with answers.
    tasks: list[Callable[[], Any]] = []
    while True:
        try:
            message = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = False, _answer(message, tasks)
        except Exception as error:
            reason = " ".join(str(error).split())
            answer = True, f"{type(error).__name__}: {reason[:160]}"
        pickle.dump(answer, answers)
        answers.flush()


def _answer(message: Any, tasks: list[Callable[[], Any]]) -> Any:
    if message is None:
        tasks.clear()
        return None
    if isinstance(message, int):
        return tasks[message]()
    task, arguments = message
    module, _, name = task.partition(":")
    tasks.append(getattr(importlib.import_module(module), name)(*arguments))
    return len(tasks) - 1


if __name__ == "__main__":
    _serve()
