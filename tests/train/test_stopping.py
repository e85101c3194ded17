"""Signals become an exception that nobody takes for a fault."""

import os
import signal

import pytest

from mnv2_jax.train.stopping import Interrupted, Stop


def killed_where_faults_are_told(number):
    """As where a block of one's own is run."""
    try:
        os.kill(os.getpid(), number)
    except Exception as error:
        raise ValueError("a fault") from error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_is_not_taken_for_a_fault(number):
    stop = Stop()
    with stop.listening(), pytest.raises(Interrupted) as caught:
        killed_where_faults_are_told(number)
    assert caught.value.signal == stop.signal == number


def test_a_postponed_one_is_looked_at_and_a_second_one_is_not_waited_with():
    stop = Stop()
    with stop.listening(), stop.postponed():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
