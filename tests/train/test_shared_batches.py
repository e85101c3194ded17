"""Devices and processes that share batches train as one device does on the whole batches."""

import json
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from mnv2_jax.train import parallel
from mnv2_jax.train.resident import Resident
from tests import commands
from tests.train import shared_batches

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone():
    return shared_batches.train(parallel.Lanes(2, jax.local_devices()[:1]), Resident)


def assert_same(found, expected):
    for name in ("params", "batch_stats"):
        found_part, expected_part = (np.array(part[name]) for part in (found, expected))
        difference = np.linalg.norm(found_part - expected_part) / np.linalg.norm(expected_part)
        assert difference < 1e-4, name
        # It is training.
        assert np.ptp(expected_part) > 0
    np.testing.assert_allclose(found["epoch"], expected["epoch"], rtol=1e-4)
    np.testing.assert_allclose(found["test"], expected["test"], rtol=1e-4)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.train.shared_batches", *map(str, arguments)],
        cwd=commands.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


def test_two_devices(alone):
    assert_same(shared_batches.train(parallel.Batch(2)), alone)


def test_two_processes_of_two_devices(alone):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for process in [start(2, 2, number, port) for number in (0, 1)]:
        assert_same(result(process), alone)
