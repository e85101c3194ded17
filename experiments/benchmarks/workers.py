"""Processes that peers run in, which wait for a word to run side by side.

A peer in a process of its own brings its threads, its environment and its faults with it and
leaves them there; one that cannot be imported, or that ends its process, is absent and no more.
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
    """A peer cannot do what it was asked for; the message says why, in one line."""


class Pool:
    """Equal processes, each with a task that it was given.

    Attributes:
      count: how many.
      how: the same, and their threads, for people.
    """

    def __init__(
        self, count: int, threads: int, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the processes.

        Args:
          count: how many.
          threads: of each, for libraries that ask OpenMP.
          environment: variables to set for them.
        """
        self.count = count
        self.how = f"{_counted(count, 'process', 'es')} of {_counted(threads, 'thread', 's')}"
        variables = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            # What one library takes of a GPU's memory in advance, another cannot have.
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
        """Give every process the same task; see `prepare_each`."""
        return self.prepare_each(task, [arguments] * self.count)

    def prepare_each(
        self, task: str, arguments: Sequence[Sequence[Any]]
    ) -> Callable[[], list[Any]]:
        """Give every process a task beside those that it has.

        Args:
          task: "module:function". The function gives the task: another function, ready to run,
            without arguments.
          arguments: of the function, for each process.

        Returns:
          What runs the task in all processes at once, and gives what it gave in each.

        Raises:
          Unavailable: it cannot be imported, or fails.
        """
        number = self._ask([(task, tuple(own)) for own in arguments])[0]
        return lambda: self._ask([number] * self.count)

    def forget(self) -> None:
        """Drop the tasks of every process, and the memory that they hold."""
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
    """Return a pipe that was asked for, of which `Popen` cannot say that it is there."""
    assert pipe is not None
    return pipe


def _counted(count: int, noun: str, plural: str) -> str:
    return f"{count} {noun}{plural if count > 1 else ''}"


def _serve() -> None:
    """Answer the parent's messages until it closes the pipe.

    A message is a task to add, the number of one to run, or None, which drops all. An answer is
    whether that failed, and what it gave or why.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What a library prints does not go where answers do.
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
