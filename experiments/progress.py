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
        self._work_left = sum(cohort.work for cohort in cohorts)
        self._work_after = self._work_left  # When the present cohort has ended.
        self._cohorts_left = len(cohorts)
        self._work_done = 0.0
        self._waited: list[
            float
        ] = []  # Seconds in which each cohort was compiled, nothing trained.
        self._trained = 0.0  # Seconds of training.
        self._last_event = self._cohort_start = time.perf_counter()
        self._label = ""
        self._last_line = float("-inf")
        self._task = None if bar is None else bar.add_task("", total=self._work_left)

    def cohort_started(self, number: int, of: int, cohort: Cohort) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        self._label = f"cohort {number} of {of} ({cohort}), {len(cohort.runs)} lanes"
        self._cohorts_left -= 1
        self._work_after = self._work_left - cohort.work
        self._last_event = time.perf_counter()
        if self._bar is not None:
            self._console.print(self._label, markup=False, highlight=False)
        self._say("compiling", always=True)

    def cohort_compiled(self, cohort: Cohort) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        self._cohort_start = time.perf_counter()
        self._waited.append(self._cohort_start - self._last_event)
        self._last_event = self._cohort_start

    def epoch_ended(self, cohort: Cohort, epoch: int) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        now = time.perf_counter()
        self._trained += now - self._last_event
        self._last_event = now
        epochs = cohort.program.recipe.epochs
        self._work_done += cohort.work / epochs
        self._work_left -= cohort.work / epochs
        images = epoch * cohort.program.steps_per_epoch * cohort.program.recipe.batch_size
        rate = images * len(cohort.runs) / (now - self._cohort_start)
        compiling = self._cohorts_left * sum(self._waited) / len(self._waited)
        left = self._trained * self._work_left / self._work_done + compiling
        self._say(
            f"epoch {epoch} of {epochs}, {rate:,.0f} images/s in all, about {_minutes(left)} left",
            always=epoch == epochs,
        )

    def cohort_failed(self, cohort: Cohort, error: str) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        self._work_left = self._work_after
        self._console.print(f"{self._label}: failed: {error}", markup=False)

    def _say(self, message: str, always: bool) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._work_done, description=message)
            return
        now = time.perf_counter()
        if always or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._console.print(f"{self._label}: {message}", markup=False, highlight=False)
            self._last_line = now


@contextlib.contextmanager
def show_progress(console: Console, cohorts: Sequence[Cohort]) -> Iterator[SweepProgress]:
    """Gives what to tell the progress of training `cohorts` to."""
    if not console.is_terminal or not cohorts:
        yield SweepProgress(console, cohorts, None)
        return
    # Narrow enough for 80 characters.
    columns = (BarColumn(bar_width=12), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        yield SweepProgress(console, cohorts, bar)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
