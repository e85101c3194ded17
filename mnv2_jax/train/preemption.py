"""Stopping on signals without losing what was trained."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU)

_OF_THE_SYSTEM = (signal.SIGHUP, signal.SIGXCPU)
"""Signals of a lost terminal, and of a limit on CPU time. `nohup` ignores the former, and it
stays so. Both come again and again, by which nobody asks for more haste."""

_SECONDS_UNTIL_AGAIN = 0.02
"""By when what discards exceptions is mostly over: a collection of garbage takes milliseconds."""


class Interrupted(BaseException):
    """The process was asked to stop; what was to be saved is saved.

    Like KeyboardInterrupt it is no Exception: it may come anywhere, and is nobody's fault.

    Attributes:
      signal: the signal's number; by convention the exit status is 128 more.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number


class StopRequest:
    """A request to stop the process, by a signal, if there was one.

    A signal raises `Interrupted` where it comes, but for `postponed` blocks, which look at `signal`
    themselves. A second one is not waited with. Where Python discards exceptions, as in finalizers
    and callbacks of the garbage collector, it is as if the signal came a moment later.

    Attributes:
      signal: the number of the signal that was received, else 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before = 0  # What `signal` was before the last one came.
        self._postponed = False
        self._sending = threading.Lock()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take over the signals inside the block, which is to be in the main thread."""
        ignored = {one for one in _OF_THE_SYSTEM if signal.getsignal(one) == signal.SIG_IGN}
        with self._noticing_discarded():
            before = {
                number: signal.signal(number, self._receive)
                for number in SIGNALS
                if number not in ignored
            }
            try:
                yield
            finally:
                with self._sending:
                    for number, handler in before.items():
                        signal.signal(number, handler)

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        """Open a block that ends soon after `signal` is set, and raises what it has to."""
        before, self._postponed = self._postponed, True
        try:
            yield
        finally:
            self._postponed = before

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number in _OF_THE_SYSTEM:
            return
        self._before, self.signal = self.signal, number
        if self._before:
            raise Interrupted(number, "a second signal; what is not saved by then is trained again")
        if not self._postponed:
            raise Interrupted(number, "nothing was in training")

    @contextlib.contextmanager
    def _noticing_discarded(self) -> Iterator[None]:
        before = sys.unraisablehook

        def notice(discarded: "sys.UnraisableHookArgs") -> None:
            if isinstance(discarded.exc_value, Interrupted):
                self.signal = self._before
                # Raised here, it would be discarded too. Signals are received by this thread.
                again = (discarded.exc_value.signal, threading.get_ident())
                threading.Thread(target=self._send_again, args=again, daemon=True).start()
            else:
                before(discarded)

        sys.unraisablehook = notice
        try:
            yield
        finally:
            sys.unraisablehook = before

    def _send_again(self, number: int, thread: int) -> None:
        time.sleep(_SECONDS_UNTIL_AGAIN)
        # While it is sent the handler stays: without one, the signal would kill the process.
        with self._sending:
            if signal.getsignal(number) == self._receive:
                signal.pthread_kill(thread, number)  # Which wakes it up if it waits.
