"""Stopping on SIGTERM and SIGINT without losing what was trained."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """The process was asked to stop; what was to be saved is saved.

    Like KeyboardInterrupt it is no Exception: it may come anywhere, and is nobody's fault.

    Attributes:
      signal: the signal's number; by convention the exit status is 128 more.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number


class Stop:
    """Whether the process was asked to stop.

    A signal raises `Interrupted` where it comes, but for `postponed` blocks, which look at `signal`
    themselves. A second one is not waited with.

    Attributes:
      signal: the number of the signal that was received, else 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._postponed = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes over the signals inside the block, which is to be in the main thread."""
        before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        """A block that ends by itself soon after `signal` is set, and raises what it has to."""
        self._postponed = True
        try:
            yield
        finally:
            self._postponed = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self.signal != 0
        self.signal = number
        if again or not self._postponed:
            raise Interrupted(number, "nothing was in training")
