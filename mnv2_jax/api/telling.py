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


class Teller(Protocol):
    """Tells people how an experiment goes."""

    def say(self, line: str) -> None:
        """Tell a line."""

    def show(self, table: Table) -> None:
        """Show a table."""

    def progress(self, cohorts: Sequence[Cohort]) -> contextlib.AbstractContextManager[Progress]:
        """Open a block in which cohorts are trained; what it gives is told how far that is."""


def teller(progress: "bool | Progress") -> Teller:
    """Make what tells people.

    Args:
      progress: True prints lines, on a terminal a bar; False prints nothing; else it is an object
        with the methods of `mnv2_jax.ablation.sweep.Progress`, which is told.
    """
    if not isinstance(progress, bool):
        if not hasattr(progress, "said"):
            raise ValueError(
                f"progress={progress!r:.60}: expected True, False or an object with the methods of "
                f"mnv2_jax.ablation.sweep.Progress"
            )
        return _ToObject(progress)
    quiet = not (progress and processes.is_primary())
    # In a notebook too it prints text, which is cheaper than HTML and kept in order.
    options: dict[str, Any] = {"soft_wrap": not sys.stdout.isatty(), "force_jupyter": False}
    return _OnConsole(Console(quiet=quiet, **options))


class _OnConsole:
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
