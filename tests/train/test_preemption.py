"""Signals become an exception that no handler of errors catches."""

import contextlib
import gc
import os
import signal
import sys
import threading
import time

import pytest

from mnv2_jax.train import preemption
from mnv2_jax.train.preemption import Interrupted, StopRequest


def killed_where_errors_are_caught(number):
    """As around a user's block."""
    try:
        os.kill(os.getpid(), number)
    except Exception as error:
        raise ValueError("an error") from error


@pytest.mark.parametrize("number", preemption.SIGNALS)
def test_an_interruption_is_no_error(number):
    stop = StopRequest()
    with stop.listening(), pytest.raises(Interrupted) as caught:
        killed_where_errors_are_caught(number)
    assert caught.value.signal == stop.signal == number


def test_a_postponed_signal_is_recorded_and_a_second_one_interrupts():
    stop = StopRequest()
    with stop.listening(), stop.postponed():
        with stop.postponed():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(Interrupted, match=r"^a second signal; what is not saved"):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGXCPU])
def test_signals_that_the_system_repeats_count_once(number):
    stop = StopRequest()
    with stop.listening(), stop.postponed():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert stop.signal == number


def test_a_signal_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopRequest()
    try:
        with stop.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert stop.signal == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@contextlib.contextmanager
def calling_at_collections(function):
    """As jax does; an exception there is discarded."""

    def call(phase, info):
        if phase == "stop":
            function()

    gc.disable()  # No collections but those below.
    gc.callbacks.append(call)
    try:
        yield
    finally:
        gc.callbacks.remove(call)
        gc.enable()


def signalled_in_a_callback(number):
    with calling_at_collections(lambda: signal.raise_signal(number)):
        gc.collect()


def signalled_in_a_finalizer(number):
    class Signalled:
        def __del__(self):
            signal.raise_signal(number)

    Signalled()


def wait(until=lambda: False):
    """Wait for much longer than it takes to send a discarded signal again."""
    end = time.monotonic() + 10
    while not until() and time.monotonic() < end:
        time.sleep(0.001)


@pytest.fixture
def is_sent():
    """Whether a discarded signal has been sent again."""
    before = threading.enumerate()
    return lambda: {*threading.enumerate()} <= {*before}


@pytest.fixture
def discarded(monkeypatch):
    """The exceptions that the previous hook is given."""
    errors = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: errors.append(repr(args.exc_value)))
    return errors


@pytest.mark.parametrize("signalled", [signalled_in_a_callback, signalled_in_a_finalizer])
def test_a_discarded_signal_is_sent_again(discarded, capfd, signalled):
    stop = StopRequest()
    with stop.listening():
        signalled(signal.SIGTERM)
        assert stop.signal == 0
        with pytest.raises(Interrupted) as caught:
            wait()
    assert caught.value.signal == stop.signal == signal.SIGTERM
    assert (discarded, *capfd.readouterr()) == ([], "", "")


def test_a_signal_that_is_discarded_twice_is_sent_again(discarded):
    stop = StopRequest()
    came = []

    def hold():
        came.append(stop.signal)
        wait()

    with stop.listening():
        signalled_in_a_callback(signal.SIGINT)
        with calling_at_collections(hold):
            gc.collect()
        assert came == [0]
        with pytest.raises(Interrupted) as caught:
            wait()
    assert caught.value.signal == signal.SIGINT
    assert discarded == []


def test_a_discarded_signal_is_postponed_like_a_first_one(is_sent):
    stop = StopRequest()
    with stop.listening():
        signalled_in_a_callback(signal.SIGTERM)
        with stop.postponed():
            wait(lambda: stop.signal)
            wait(is_sent)
            assert stop.signal == signal.SIGTERM


def test_a_second_signal_that_is_discarded_interrupts():
    stop = StopRequest()
    with stop.listening(), stop.postponed():
        os.kill(os.getpid(), signal.SIGTERM)
        signalled_in_a_callback(signal.SIGINT)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(Interrupted) as caught:
            wait()
    assert caught.value.signal == signal.SIGINT


def test_a_discarded_signal_is_sent_again_after_an_inner_block():
    stop = StopRequest()
    with stop.listening():
        with stop.listening():
            signalled_in_a_callback(signal.SIGTERM)
        with pytest.raises(Interrupted):
            wait()


def test_after_the_block_a_discarded_signal_is_dropped(is_sent):
    received = []
    before = signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    try:
        with StopRequest().listening():
            signalled_in_a_callback(signal.SIGTERM)
        wait(is_sent)
        assert is_sent()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == []


def test_other_discarded_exceptions_reach_the_previous_hook(discarded):
    def fail():
        raise ValueError("an error")

    with StopRequest().listening(), calling_at_collections(fail):
        gc.collect()
    assert discarded == ["ValueError('an error')"]


def test_handlers_and_hook_are_restored():
    def current():
        return [sys.unraisablehook, *map(signal.getsignal, (signal.SIGTERM, signal.SIGINT))]

    before = current()
    with StopRequest().listening(), StopRequest().listening():
        assert not any(handler in before for handler in current())
    assert current() == before
