"""Signals become an exception that nobody takes for a fault."""

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


def killed_where_faults_are_told(number):
    """As where a block of one's own is run."""
    try:
        os.kill(os.getpid(), number)
    except Exception as error:
        raise ValueError("a fault") from error


@pytest.mark.parametrize("number", preemption.SIGNALS)
def test_an_interruption_is_not_taken_for_a_fault(number):
    stop = StopRequest()
    with stop.listening(), pytest.raises(Interrupted) as caught:
        killed_where_faults_are_told(number)
    assert caught.value.signal == stop.signal == number


def test_a_postponed_one_is_looked_at_and_a_second_one_is_not_waited_with():
    stop = StopRequest()
    with stop.listening(), stop.postponed():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(Interrupted, match=r"^a second signal; what is not saved"):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_block_within_a_postponed_one_ends_no_postponement():
    stop = StopRequest()
    with stop.listening(), stop.postponed():
        with stop.postponed():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.signal == signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGXCPU])
def test_what_the_system_sends_again_and_again_is_one_signal(number):
    stop = StopRequest()
    with stop.listening(), stop.postponed():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert stop.signal == number


def test_what_nohup_ignores_stays_ignored():
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
    """As jax does; what it raises is discarded."""

    def call(phase, info):
        if phase == "stop":
            function()

    gc.disable()  # Of those that are not asked for there may be any number.
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
    """For much longer than it takes until a signal that was discarded comes again."""
    end = time.monotonic() + 10
    while not until() and time.monotonic() < end:
        time.sleep(0.001)


@pytest.fixture
def is_sent():
    """Whether what is to come again has been sent."""
    before = threading.enumerate()
    return lambda: {*threading.enumerate()} <= {*before}


@pytest.fixture
def discarded(monkeypatch):
    """What exceptions the hook that was there before is told of."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda given: told.append(repr(given.exc_value)))
    return told


@pytest.mark.parametrize("signalled", [signalled_in_a_callback, signalled_in_a_finalizer])
def test_a_discarded_one_comes_again(discarded, capfd, signalled):
    stop = StopRequest()
    with stop.listening():
        signalled(signal.SIGTERM)
        assert stop.signal == 0
        with pytest.raises(Interrupted) as caught:
            wait()
    assert caught.value.signal == stop.signal == signal.SIGTERM
    assert (discarded, *capfd.readouterr()) == ([], "", "")


def test_one_that_is_discarded_again_comes_again(discarded):
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


def test_a_discarded_one_is_postponed_as_a_first_one_is(is_sent):
    stop = StopRequest()
    with stop.listening():
        signalled_in_a_callback(signal.SIGTERM)
        with stop.postponed():
            wait(lambda: stop.signal)
            wait(is_sent)
            assert stop.signal == signal.SIGTERM


def test_a_second_one_that_is_discarded_is_not_waited_with_either():
    stop = StopRequest()
    with stop.listening(), stop.postponed():
        os.kill(os.getpid(), signal.SIGTERM)
        signalled_in_a_callback(signal.SIGINT)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(Interrupted) as caught:
            wait()
    assert caught.value.signal == signal.SIGINT


def test_a_discarded_one_comes_again_outside_of_a_second_block():
    stop = StopRequest()
    with stop.listening():
        with stop.listening():
            signalled_in_a_callback(signal.SIGTERM)
        with pytest.raises(Interrupted):
            wait()


def test_after_the_block_a_discarded_one_is_forgotten(is_sent):
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


def test_other_discarded_exceptions_are_told_as_before(discarded):
    def fail():
        raise ValueError("a fault")

    with StopRequest().listening(), calling_at_collections(fail):
        gc.collect()
    assert discarded == ["ValueError('a fault')"]


def test_handlers_and_hook_are_put_back():
    def all_three():
        return [sys.unraisablehook, *map(signal.getsignal, (signal.SIGTERM, signal.SIGINT))]

    before = all_three()
    with StopRequest().listening(), StopRequest().listening():
        assert not any(one in before for one in all_three())
    assert all_three() == before
