"""Output for people: names of files, blocks and classes may hold any characters."""

import contextlib
import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

SECONDS_BETWEEN_LINES = 5.0
"""Seconds between two lines of progress."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    r"""Return a text with its control characters written out: an escape as \x1b."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def say(text: str, file: TextIO | None = None) -> None:
    """Print a text, on stdout by default, at once; see `plain`."""
    print(plain(text), file=file, flush=True)


def first_few(lines: Sequence[str], most: int = 5) -> list[str]:
    """Return the first lines, and a line that counts the others."""
    more = len(lines) - most
    return [*lines[:most], *([f"and {more} more like these"] if more > 0 else [])]


def counter(tell: Callable[[str], None], total: int, what: str) -> Callable[[int], None]:
    """Return a function that takes how many are done, and prints progress every few seconds.

    Args:
      tell: prints a line, such as "20 of 100 images decoded, 4/s, 20 s left".
      total: how many there are.
      what: is counted, such as "images decoded".
    """
    began = printed = time.perf_counter()

    def count(done: int) -> None:
        nonlocal printed
        now = time.perf_counter()
        if now - printed >= SECONDS_BETWEEN_LINES:
            rate = done / (now - began)
            left = (total - done) / rate
            tell(f"{done:,} of {total:,} {what}, {rate:,.0f}/s, {left:.0f} s left")
            printed = now

    return count


def outlive(name: str) -> None:
    """Let this process go on when sys.stdout or sys.stderr cannot be written to.

    That is so behind `| head`, on a full disk, or when the terminal is gone. Commands that do more
    than print call this; that their output is lost is printed to stderr, once.

    Args:
      name: "stdout" or "stderr".
    """
    if not isinstance(getattr(sys, name), _Outlived):
        setattr(sys, name, cast(TextIO, _Outlived(getattr(sys, name), name)))


class _Outlived:
    """A stream that drops what is written after the first error."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        # The buffer, and later output, go to /dev/null.
        with Path(os.devnull).open("w") as nowhere, contextlib.suppress(OSError):
            os.dup2(nowhere.fileno(), self._stream.fileno())
        if self._name != "stderr":
            reason = error.strerror or str(error)
            say(f"{self._name}: cannot be written to ({reason}); the work goes on", sys.stderr)


class Console(rich.console.Console):
    """Rich's console without markup and emoji; see `plain`."""

    def __init__(self, **options: Any) -> None:
        """Take the options of Rich's console."""
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """See `rich.console.Console`, and `plain`; widths of table cells are measured here."""
        return super().render_str(plain(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See `rich.console.Console`, and `plain`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


@contextlib.contextmanager
def show_growth(folders: Sequence[Path]) -> Iterator[None]:
    """Print every few seconds how much the files in `folders` have grown since the block began."""
    out, start, before = sys.stdout, time.perf_counter(), _bytes_in(folders)
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(SECONDS_BETWEEN_LINES):
            written = size(max(0, _bytes_in(folders) - before))
            seconds = time.perf_counter() - start
            # To the stdout from before: what TFDS prints is captured meanwhile.
            print(f"at work for {seconds:.0f} s: {written} written", file=out, flush=True)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def size(count: float) -> str:
    """Return a number of bytes as text, such as "12.3 MB"."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"


def _bytes_in(folders: Sequence[Path]) -> int:
    total = 0
    # Files may vanish meanwhile.
    for place, _, names in itertools.chain.from_iterable(map(os.walk, folders)):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(place, name).stat().st_size
    return total
