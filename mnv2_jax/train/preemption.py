"""Stops the process on signals without losing training."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU)

_REPEATED = (signal.SIGHUP, signal.SIGXCPU)
"""Signals of a lost terminal and of a limit on CPU time, which the system sends again and again: a
second one does not ask for more haste. If ignored, as by `nohup`, they stay ignored."""

_RESEND_SECONDS = 0.02
"""The delay before a discarded signal is sent again: a garbage collection takes milliseconds."""


class Interrupted(BaseException):
    """The process was asked to stop, and has saved its state.

    Like KeyboardInterrupt it is no Exception: it may come anywhere and is no error.

    Attributes:
      signal: the signal's number; by convention the exit status is 128 more.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number


class StopRequest:
    """A request by signal to stop the process.

    A signal raises `Interrupted` at once, except in `postponed` blocks, which read `signal`
    themselves; a second one raises there too. Where Python discards exceptions, as in finalizers
    and callbacks of the garbage collector, the signal is sent again a moment later.

    Attributes:
      signal: the number of the signal that was received, else 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before = 0  # The value of `signal` before the last one came.
        self._postponed = False
        self._sending = threading.Lock()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the block, which must be in the main thread."""
        ignored = {number for number in _REPEATED if signal.getsignal(number) == signal.SIG_IGN}
        with self._resending_discarded():
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
        """Let the block read `signal`, and raise `Interrupted` itself."""
        before, self._postponed = self._postponed, True
        try:
            yield
        finally:
            self._postponed = before

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number in _REPEATED:
            return
        self._before, self.signal = self.signal, number
        if self._before:
            raise Interrupted(number, "a second signal; what is not saved by then is trained again")
        if not self._postponed:
            raise Interrupted(number, "nothing was in training")

    @contextlib.contextmanager
    def _resending_discarded(self) -> Iterator[None]:
        before = sys.unraisablehook

        def resend(discarded: "sys.UnraisableHookArgs") -> None:
            if isinstance(discarded.exc_value, Interrupted):
                self.signal = self._before
                # An exception raised here would be discarded too. This thread receives signals.
                arguments = (discarded.exc_value.signal, threading.get_ident())
                threading.Thread(target=self._send, args=arguments, daemon=True).start()
            else:
                before(discarded)

        sys.unraisablehook = resend
        try:
            yield
        finally:
            sys.unraisablehook = before

    def _send(self, number: int, thread: int) -> None:
        time.sleep(_RESEND_SECONDS)
        # The lock keeps the handler in place: without it, the signal would kill the process.
        with self._sending:
            if signal.getsignal(number) == self._receive:
                signal.pthread_kill(thread, number)  # It also wakes a thread that waits.
