"""Messages while an experiment runs: on a console, to an object of the caller's, or none."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from rich.table import Table

from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.progress import show_progress
from mnv2_jax.ablation.sweep import Progress
from mnv2_jax.terminal import Console
from mnv2_jax.train import processes


class Messages(Protocol):
    """Output of a running experiment, for people."""

    def say(self, line: str) -> None:
        """Print a line."""

    def show(self, table: Table) -> None:
        """Print a table."""

    def progress(self, cohorts: Sequence[Cohort]) -> contextlib.AbstractContextManager[Progress]:
        """Show the progress of training these cohorts while the block runs."""


def messages_to(progress: "bool | Progress") -> Messages:
    """Return where messages go.

    Args:
      progress: True prints lines, on a terminal a bar; False prints nothing; else an object with
        the methods of `mnv2_jax.ablation.sweep.Progress`, which are called.
    """
    if not isinstance(progress, bool):
        if not hasattr(progress, "said"):
            raise ValueError(
                f"progress={progress!r:.60}: expected True, False or an object with the methods of "
                f"mnv2_jax.ablation.sweep.Progress"
            )
        return _ToObject(progress)
    quiet = not (progress and processes.is_primary())
    # Text in a notebook too: it is cheaper than HTML and keeps the order of lines.
    options: dict[str, Any] = {"soft_wrap": not sys.stdout.isatty(), "force_jupyter": False}
    return _ToConsole(Console(quiet=quiet, **options))


class _ToConsole:
    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False)

    def show(self, table: Table) -> None:
        self._console.print(table)

    def progress(self, cohorts: Sequence[Cohort]) -> contextlib.AbstractContextManager[Progress]:
        return show_progress(self._console, cohorts)


class _ToObject:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def say(self, line: str) -> None:
        self._progress.said(line)

    def show(self, table: Table) -> None:
        pass

    @contextlib.contextmanager
    def progress(self, cohorts: Sequence[Cohort]) -> Iterator[Progress]:
        yield self._progress
