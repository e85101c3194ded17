"""Shows the progress of a sweep: bars on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator, Sequence

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mnv2_jax.ablation import estimates, sweep
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.terminal import Console

_SECONDS_BETWEEN_LINES = 5.0
_SETTLED_SECONDS = 1.0
"""A chunk's speed is shown once it has been measured for this long, without the first call, which
includes start-up."""


class SweepProgress(sweep.Progress):
    """Prints what a sweep does, its speed and the time left."""

    def __init__(self, console: Console, cohorts: Sequence[Cohort], bar: Progress | None) -> None:
        self._console = console
        self._bar = bar
        self._work_left = sum(cohort.work for cohort in cohorts)
        self._work_after = self._work_left  # Left after the present cohort.
        self._cohorts_left = len(cohorts)
        self._work_trained = 0.0  # By this process, without what checkpoints hold.
        self._seconds_trained = 0.0
        self._waited: list[float] = []  # Seconds of compilation, by cohort.
        self._last_event = time.perf_counter()
        self._cohort = self._label = ""
        self._compiled = False
        self._calls = -1  # Of the chunk's program.
        self._begun = (0, 0.0)  # Step and time at the end of the first call.
        self._step = 0
        self._said: set[str] = set()
        self._last_line = float("-inf")
        total = self._work_left
        self._task = None if bar is None else bar.add_task("", total=total)
        self._work_in_all = total

    def cohort_started(self, number: int, of: int, cohort: Cohort) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        self._cohort = f"cohort {number} of {of} ({cohort})"
        self._label = f"{self._cohort}, {_lanes(len(cohort.runs))}"
        self._cohorts_left -= 1
        self._work_after = self._work_left - cohort.work
        self._last_event = time.perf_counter()
        self._compiled = False
        if self._bar is not None:
            self._console.print(self._label, highlight=False)
        usual = estimates.compiling(cohort)
        self._say("compiling" + (f" (usually {_minutes(usual)})" if usual else ""), always=True)

    def chunk_started(self, cohort: Cohort, lanes: int) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        count = len(cohort.runs)
        part = f"{lanes} of " if lanes < count else ""
        self._label = f"{self._cohort}, {part}{_lanes(count)}"
        now = time.perf_counter()
        if not self._compiled:
            self._waited.append(now - self._last_event)
            self._compiled = True
        self._last_event = now
        self._calls = -1
        self._step = 0

    def trained(self, cohort: Cohort, lanes: int, step: int) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        now = time.perf_counter()
        program = cohort.program
        work = cohort.work * lanes / len(cohort.runs) * (step - self._step) / program.steps
        self._step = step
        self._work_left -= work
        self._calls += 1
        if self._calls > 1:
            self._seconds_trained += now - self._last_event
            self._work_trained += work
        else:
            self._begun = (step, now)
        self._last_event = now
        if self._calls == 0:  # Training only begins.
            return
        epoch = -(-step // program.steps_per_epoch)
        message = f"epoch {epoch} of {program.recipe.epochs}"
        ended = step == program.steps
        first, began = self._begun
        if self._calls > 1 and (ended or now - began >= _SETTLED_SECONDS):
            rate = (step - first) * program.recipe.batch_size * lanes / (now - began)
            compiling = self._cohorts_left * sum(self._waited) / len(self._waited)
            left = self._seconds_trained * self._work_left / self._work_trained + compiling
            is_last = self._work_left < 1e-9 * self._work_in_all  # Sums are rounded.
            next_ = "evaluating" if is_last else f"about {_minutes(left)} left"
            message += f", {rate:,.0f} images/s in all, {next_}"
        self._say(message, always=ended)

    def cohort_failed(self, cohort: Cohort, error: str) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        self._work_left = self._work_after
        self._console.print(f"{self._label}: failed: {error}")

    def said(self, line: str) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`. Prints equal lines once."""
        if line not in self._said:
            self._said.add(line)
            self._console.print(line, highlight=False)

    def _say(self, message: str, always: bool) -> None:
        if self._bar is not None and self._task is not None:
            done = self._work_in_all - self._work_left
            self._bar.update(self._task, completed=done, description=message)
            return
        now = time.perf_counter()
        if always or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._console.print(f"{self._label}: {message}", highlight=False)
            self._last_line = now


@contextlib.contextmanager
def show_progress(console: Console, cohorts: Sequence[Cohort]) -> Iterator[SweepProgress]:
    """Open the progress display of a sweep over `cohorts`."""
    if not console.is_terminal or not cohorts:
        yield SweepProgress(console, cohorts, None)
        return
    # Fits into 80 characters.
    columns = (
        BarColumn(bar_width=12),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        yield SweepProgress(console, cohorts, bar)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _lanes(count: int) -> str:
    return f"{count} lane" if count == 1 else f"{count} lanes"
