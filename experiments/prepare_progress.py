"""Shows how far the preparation of a data set is, in lines where there is no terminal."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_SECONDS_BETWEEN_LINES = 5.0


@contextlib.contextmanager
def show_growth(folders: Sequence[Path]) -> Iterator[None]:
    """Print every few seconds how much the files in `folders` have grown since the block began."""
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
    """Return a number of bytes, for people."""
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
