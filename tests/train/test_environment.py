"""Records of the environment, and TensorBoard's curves."""

import resource
import struct
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

import mnv2_jax
from mnv2_jax.train import environment


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A committed checkout, in place of the package's own."""
    package = tmp_path / "mnv2_jax"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "README.md").write_text("")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    monkeypatch.setattr(mnv2_jax, "__file__", str(package / "__init__.py"))
    environment.checkout.cache_clear()
    yield tmp_path
    environment.checkout.cache_clear()


def dirty():
    return environment.describe("test")["dirty"]


@pytest.mark.parametrize("path", ["mnv2_jax/__init__.py", "mnv2_jax/new.py", "configs/mine.py"])
def test_changed_and_new_code_is_dirty(checkout, path):
    (checkout / path).parent.mkdir(exist_ok=True)
    (checkout / path).write_text("changed = True\n")
    assert dirty() is True


@pytest.mark.parametrize("path", [None, "README.md", "runs/results.csv"])
def test_a_commit_with_its_results_is_clean(checkout, path):
    if path:
        (checkout / path).parent.mkdir(exist_ok=True)
        (checkout / path).write_text("changed")
    assert dirty() is False


def curve(path):
    """Version, step and values of each record of an event file, by tensorboardX's protocol."""
    content, records = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        parts = content[:8], content[12 : 12 + length]
        sums = content[8:12], content[12 + length : 16 + length]
        assert [struct.pack("<I", masked_crc32c(part)) for part in parts] == [*sums]
        event = Event.FromString(parts[1])
        values = {value.tag: value.simple_value for value in event.summary.value}
        records.append((event.file_version, event.step, values))
        content = content[16 + length :]
    return records


def test_curves_are_tensorboards_event_files_and_replace_older_ones(tmp_path):
    losses = {"a": (2.5, 2.25), "b": (float("nan"), 1.0)}
    for _ in range(2):
        board = environment.TensorBoardWriter(tmp_path, list(losses))
        for epoch in (1, 2):
            board.on_epoch(
                epoch, [{"epoch": epoch, "train_loss": of[epoch - 1]} for of in losses.values()]
            )
    for run, of in losses.items():
        (file,) = (tmp_path / run).iterdir()
        assert file.name.startswith("events.out.tfevents.")
        first, *epochs = curve(file)
        assert first == ("brain.Event:2", 0, {})
        assert [step for _, step, _ in epochs] == [1, 2]
        np.testing.assert_array_equal([values["train_loss"] for *_, values in epochs], of)


def test_many_runs_keep_no_files_or_threads_open(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    runs = [str(number) for number in range(200)]
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, hard)
    )
    threads = threading.active_count()
    try:
        environment.TensorBoardWriter(tmp_path, runs).on_epoch(
            1, [{"epoch": 1, "train_loss": 1.0}] * len(runs)
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert threading.active_count() == threads
    assert len(list(tmp_path.glob("*/events*"))) == len(runs)
