"""Shows how far the preparation of a data set is: a bar on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_SECONDS_BETWEEN_LINES = 5.0
_SETTLED_SECONDS = 1.0
"""For so long from the first image on, speed is that of workers that start."""


class _Counter:
    """Tells images that are done, how fast, and how long still."""

    def __init__(self, total: int, say: Callable[[int, str], None]) -> None:
        self._total = total
        self._say = say
        self._first: tuple[int, float] | None = None  # Images and time when the first were done.

    def __call__(self, done: int) -> None:
        now = time.perf_counter()
        message = f"{done:,} of {self._total:,} images"
        if self._first is None:
            self._first = done, now
        before, since = self._first
        if done > before and now - since >= _SETTLED_SECONDS:
            rate = (done - before) / (now - since)
            left = (self._total - done) / rate
            message += f", {rate:,.0f} images/s, about {_minutes(left)} left"
        self._say(done, message)


@contextlib.contextmanager
def show_progress(console: Console, total: int) -> Iterator[Callable[[int], None]]:
    """Gives what to tell how many of `total` images are done."""
    if not console.is_terminal:
        last = float("-inf")

        def line(done: int, message: str) -> None:
            nonlocal last
            if time.perf_counter() - last >= _SECONDS_BETWEEN_LINES:
                console.print(message)
                last = time.perf_counter()

        yield _Counter(total, line)
        return
    columns = (BarColumn(bar_width=12), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield _Counter(
            total, lambda done, message: bar.update(task, completed=done, description=message)
        )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
