"""Crash-safe: whenever a sweep dies or is stopped, the same command ends with the same bits."""

import csv
import os
import random
import signal
import time

import jax
import numpy as np
import pytest

from mnv2_jax.train.checkpoint import Checkpoints
from tests import commands, victim
from tests.small import curves_of

pytestmark = pytest.mark.slow

EPOCHS = 12


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts `victim.work` in a process that has imported it already, but not yet used jax."""
    context = commands.forks()
    cache = tmp_path_factory.mktemp("programs")

    def begin(workdir, fatal_save=0, epochs=EPOCHS, workers=None):
        mark = workdir.parent / "mark"
        mark.unlink(missing_ok=True)
        arguments = (workdir, cache, epochs, fatal_save, workers)
        process = context.Process(target=victim.work, args=arguments)
        process.start()
        while process.is_alive() and not mark.exists():
            time.sleep(0.002)
        return process

    return begin


def ended(process):
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def step_of(workdir):
    mark = workdir.parent / "mark"
    return int(mark.read_text()) if mark.exists() else 0


def end_after(step, process, workdir, number):
    """Sends a signal once a step is done; returns how the process ended."""
    while process.is_alive() and step_of(workdir) < step:
        time.sleep(0.002)
    os.kill(process.pid, number)
    return ended(process)


def last_state(workdir, epochs):
    (folder,) = (workdir / "checkpoints").iterdir()
    checkpoints = Checkpoints(folder / "steps", {})
    snapshot = checkpoints.restore(None, print)
    checkpoints.close()
    assert snapshot is not None
    assert snapshot.step == 2 * epochs
    return snapshot.state


def table_of(workdir):
    with (workdir / "results.csv").open() as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def assert_same(workdir, undisturbed, epochs=EPOCHS):
    """All that two sweeps measured, but for seconds, and the bits of their last states."""
    assert table_of(workdir) == table_of(undisturbed)
    assert curves_of(workdir) == curves_of(undisturbed)
    states = last_state(workdir, epochs), last_state(undisturbed, epochs)
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_killed_and_stopped_four_times_it_ends_with_the_same_bits(start, tmp_path):
    undisturbed, workdir = tmp_path / "a" / "work", tmp_path / "b" / "work"
    assert ended(start(undisturbed)) == 0
    moments = random.Random(0)
    begun, in_saves, stopped = [], 0, 0
    # By its own hand with a save half written, by a kill at any moment, by a signal that it hears.
    for number in (None, signal.SIGKILL, signal.SIGTERM, None):
        process = start(workdir, fatal_save=0 if number else moments.randint(1, 3))
        begun.append(step_of(workdir))
        assert begun[-1] >= stopped
        if number is None:
            assert ended(process) == -signal.SIGKILL
            in_saves += bool(list(workdir.glob("checkpoints/*/steps/*tmp*")))
            continue
        exitcode = end_after(begun[-1] + moments.randint(1, 3), process, workdir, number)
        if number == signal.SIGKILL:
            assert exitcode == -number
        else:
            assert exitcode == 128 + number
            stopped = step_of(workdir)  # Not a step is lost.
    assert in_saves == 2
    # It went on from where it was, not from the start.
    assert begun == sorted(begun)
    assert begun[-1] > begun[0] == 0
    assert not (workdir / "results.csv").exists()
    process = start(workdir)
    assert step_of(workdir) >= stopped > 0
    assert ended(process) == 0
    assert_same(workdir, undisturbed)


def test_killed_while_images_are_streamed_it_ends_with_the_same_bits(start, tmp_path):
    epochs = 6
    undisturbed, workdir = tmp_path / "a" / "work", tmp_path / "b" / "work"
    assert ended(start(undisturbed, epochs=epochs, workers=0)) == 0
    process = start(workdir, epochs=epochs, workers=1)
    assert end_after(6, process, workdir, signal.SIGKILL) == -signal.SIGKILL
    killed_at = step_of(workdir)
    # Others, or none, may decode what is left.
    process = start(workdir, epochs=epochs, workers=0)
    assert killed_at >= step_of(workdir) > 0
    assert ended(process) == 0
    assert_same(workdir, undisturbed, epochs)
