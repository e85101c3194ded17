"""Streams batches in a process that test_stream kills.

  python -m tests.data.streamed FILE WORKERS

Appends a line per batch to the file: its number and a hash of its arrays. Resumes after the last
complete line.
"""

import contextlib
import hashlib
import sys
from pathlib import Path

from mnv2_jax.data import stream
from mnv2_jax.data.augmentation import Augmentation
from tests import samples

EPOCHS = 40


def batches() -> stream.TrainBatches:
    """160 batches of 16 images."""
    return stream.TrainBatches(samples.dots().train, 5, 16, EPOCHS, range(16), Augmentation())


def line(number: int, batch: stream.Batch) -> str:
    """Return the line of a batch."""
    held = b"".join(leaf.tobytes() for leaf in batch[:3])
    return f"{number} {hashlib.sha256(held).hexdigest()}\n"


def main() -> None:
    """See the module."""
    path, workers = Path(sys.argv[1]), int(sys.argv[2])
    done = path.read_text().count("\n") if path.exists() else 0
    with (
        path.open("a", buffering=1) as file,
        contextlib.closing(stream.iterate(batches(), done, workers, print)) as found,
    ):
        for number, batch in enumerate(found, start=done):
            file.write(line(number, batch))


if __name__ == "__main__":
    main()
