"""Killed is nothing: whenever a sweep dies, the same command ends with the same numbers."""

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

pytestmark = pytest.mark.slow

EPOCHS = 24


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts `victim.work` in a process that has imported it already, but not yet used jax."""
    context = commands.forks()
    cache = tmp_path_factory.mktemp("programs")

    def begin(workdir, fatal_save=0, workers=None):
        mark = workdir.parent / "mark"
        mark.unlink(missing_ok=True)
        arguments = (workdir, cache, EPOCHS, fatal_save, workers)
        process = context.Process(target=victim.work, args=arguments)
        process.start()
        while process.is_alive() and not mark.exists():
            time.sleep(0.005)
        return process

    return begin


def ended(process):
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def step_of(workdir):
    mark = workdir.parent / "mark"
    return int(mark.read_text()) if mark.exists() else 0


def numbers(workdir):
    """All that a sweep measured, but for seconds; and the bits of the last states."""
    with (workdir / "results.csv").open() as file:
        rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    curves = {
        path.parent.name: path.read_bytes() for path in (workdir / "runs").glob("*/metrics.jsonl")
    }
    return rows, curves


def last_state(workdir):
    (folder,) = (workdir / "checkpoints").iterdir()
    checkpoints = Checkpoints(folder / "steps", {})
    snapshot = checkpoints.restore(None, print)
    checkpoints.close()
    assert snapshot is not None
    assert snapshot.step == 2 * EPOCHS
    return snapshot.state


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "work"
    assert ended(start(workdir)) == 0
    return workdir


def assert_same(workdir, undisturbed):
    assert numbers(workdir) == numbers(undisturbed)
    jax.tree.map(np.testing.assert_array_equal, last_state(workdir), last_state(undisturbed))


def test_killed_six_times_it_comes_to_the_same_bits(start, undisturbed, tmp_path):
    moments = random.Random(0)
    workdir = tmp_path / "work"
    begun, killed, in_saves = [], 0, 0
    for number in range(6):
        # Every other dies by its own hand with a save half written, the others whenever.
        fatal_save = moments.randint(1, 4) if number % 2 else 0
        process = start(workdir, fatal_save)
        begun.append(step_of(workdir))
        if not fatal_save:
            time.sleep(moments.uniform(0.0, 0.2))
            os.kill(process.pid, signal.SIGKILL)
        killed += ended(process) == -signal.SIGKILL
        in_saves += bool(list(workdir.glob("checkpoints/*/steps/*tmp*")))
    assert killed == 6
    assert in_saves >= 3
    # It went on from where it was, not from the start.
    assert begun == sorted(begun)
    assert begun[-1] > begun[0] == 0
    assert not (workdir / "results.csv").exists()
    assert ended(start(workdir)) == 0
    assert_same(workdir, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_goes_on_from_there(start, undisturbed, tmp_path, number):
    workdir = tmp_path / "work"
    process = start(workdir)
    time.sleep(0.2)
    os.kill(process.pid, number)
    assert ended(process) == 128 + number
    stopped = step_of(workdir)
    process = start(workdir)
    # Not a step was lost.
    assert step_of(workdir) >= stopped > 0
    assert ended(process) == 0
    assert_same(workdir, undisturbed)


def test_killed_while_images_are_streamed_it_comes_to_the_same_bits(start, tmp_path):
    undisturbed, workdir = tmp_path / "a" / "work", tmp_path / "b" / "work"
    assert ended(start(undisturbed, workers=0)) == 0
    process = start(workdir, workers=1)
    while process.is_alive() and step_of(workdir) < 10:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert ended(process) == -signal.SIGKILL
    killed_at = step_of(workdir)
    # Others, or none, may decode what is left.
    process = start(workdir, workers=0)
    assert killed_at >= step_of(workdir) > 0
    assert ended(process) == 0
    assert_same(workdir, undisturbed)
