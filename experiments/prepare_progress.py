"""Shows how far the preparation of a data set is: a bar on a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mnv2_jax.terminal import Console

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
    columns = (
        BarColumn(bar_width=12),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield _Counter(
            total, lambda done, message: bar.update(task, completed=done, description=message)
        )


@contextlib.contextmanager
def show_growth(folders: Sequence[Path]) -> Iterator[None]:
    """Tells every few seconds how much the files in `folders` have grown since the block began."""
    out, begun, before = sys.stdout, time.perf_counter(), _bytes_in(folders)
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LINES):
            written = size(max(0, _bytes_in(folders) - before))
            seconds = time.perf_counter() - begun
            # Not by `console`: TFDS's own words to stdout are caught meanwhile.
            print(f"at work for {seconds:.0f} s: {written} written", file=out, flush=True)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def size(count: float) -> str:
    """A number of bytes, for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"


def _bytes_in(folders: Sequence[Path]) -> int:
    total = 0
    # Files and folders come and go meanwhile: what is gone by now is passed over.
    for place, _, names in (found for folder in folders for found in os.walk(folder)):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(place, name).stat().st_size
    return total


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
