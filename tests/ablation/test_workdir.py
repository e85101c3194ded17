import multiprocessing
import os
import signal
import socket

import pytest

from mnv2_jax.ablation import workdir


def hold(folder, ready):
    with workdir.claimed(folder):
        ready.set()
        signal.pause()


@pytest.fixture
def holder(tmp_path):
    """Another process that has claimed `tmp_path / "work"`."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "work", ready))
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def test_the_second_is_told_who_the_first_is(tmp_path, holder):
    expected = f"process {holder.pid} on {socket.gethostname()} is at work there"
    with pytest.raises(ValueError, match=expected), workdir.claimed(tmp_path / "work"):
        pass


def test_a_claim_ends_with_its_process(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with workdir.claimed(tmp_path / "work"):
        pass
    with workdir.claimed(tmp_path / "work"):
        pass


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="it is a file"), workdir.claimed(tmp_path / "file"):
        pass
