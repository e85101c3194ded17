"""Shows how far a sweep is: bars on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mnv2_jax.ablation.cohort import Cohort

_SECONDS_BETWEEN_LINES = 5.0


class SweepProgress:
    """Tells what a sweep is doing, how fast, and how long still."""

    def __init__(self, console: Console, cohorts: Sequence[Cohort], bar: Progress | None) -> None:
        self._console = console
        self._bar = bar
        self._total = sum(cohort.work for cohort in cohorts)
        self._done = 0.0
        self._start = time.perf_counter()
        self._cohort_start = self._start
        self._label = ""
        self._last_line = float("-inf")
        self._task = None if bar is None else bar.add_task("", total=self._total, rate="", left="")

    def cohort_started(self, number: int, of: int, cohort: Cohort) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        self._label = f"cohort {number} of {of} ({cohort}), {len(cohort.runs)} lanes"
        self._cohort_start = time.perf_counter()
        self._say(f"{self._label}: compiling", always=True)

    def epoch_ended(self, cohort: Cohort, epoch: int) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        now = time.perf_counter()
        epochs = cohort.program.recipe.epochs
        self._done += cohort.work / epochs
        if epoch == 1:
            # The first epoch ends the wait for the compiler, which is not the speed of training.
            self._cohort_start = now
            rate = ""
        else:
            images = cohort.program.steps_per_epoch * cohort.program.recipe.batch_size
            trained = (epoch - 1) * images * len(cohort.runs)
            rate = f", {trained / (now - self._cohort_start):,.0f} images/s over all lanes"
        left = (now - self._start) * (self._total / self._done - 1)
        message = f"{self._label}: epoch {epoch} of {epochs}{rate}, about {_minutes(left)} left"
        self._say(message, always=epoch == epochs)

    def cohort_failed(self, cohort: Cohort, error: str) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        self._done += cohort.work
        self._console.print(f"{self._label}: failed: {error}", markup=False)

    def _say(self, message: str, always: bool) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, description=message)
            return
        now = time.perf_counter()
        if always or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._console.print(message, markup=False, highlight=False)
            self._last_line = now


@contextlib.contextmanager
def show_progress(console: Console, cohorts: Sequence[Cohort]) -> Iterator[SweepProgress]:
    """Gives what to tell the progress of training `cohorts` to."""
    if not console.is_terminal or not cohorts:
        yield SweepProgress(console, cohorts, None)
        return
    columns = (BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        yield SweepProgress(console, cohorts, bar)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
