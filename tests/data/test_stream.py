import contextlib
import errno
import functools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_jax import terminal
from mnv2_jax.data import rng, stream
from mnv2_jax.data.augmentation import Augmentation
from mnv2_jax.data.images import Images
from mnv2_jax.data.stored.prepared import Record
from tests import commands, samples
from tests.data import streamed


@functools.cache
def numbered(count, bad=frozenset(), skip=False):
    """Images of one pixel whose colour is their number, and so is their label."""
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    pngs = samples.Pngs(images, np.arange(count))

    class Records:
        def __len__(self):
            return count

        def __getitem__(self, index):
            record = pngs[index]
            return Record(b"text", *record[1:]) if index in bad else record

    return Images(Records(), (1, 1, 1), skip_corrupt=skip)


def train_batches(images, rows=range(4), seed=0, places=None):
    return stream.TrainBatches(images, seed, 4, 3, rows, Augmentation(), places)


@pytest.mark.parametrize("places", [None, np.arange(11), np.array([2, 3, 5, 7, 9, 10], np.int32)])
def test_an_epoch_holds_every_chosen_image_once_but_for_the_remainder(places):
    batches = train_batches(numbered(11), seed=3, places=places)
    chosen = np.arange(11) if places is None else places
    steps = len(chosen) // 4
    assert len(batches) == 3 * steps
    for epoch in range(3):
        found = [batches[epoch * steps + step] for step in range(steps)]
        expected = chosen[rng.epoch_order(3, epoch, len(chosen))[: 4 * steps]]
        np.testing.assert_array_equal(np.concatenate([part.labels for part in found]), expected)
        images = np.concatenate([part.images for part in found])
        np.testing.assert_array_equal(images[:, 0, 0, 0], expected)
        assert images.dtype == np.uint8


def test_hosts_get_disjoint_rows_that_make_up_the_batch():
    images = numbered(11)
    whole = train_batches(images)
    hosts = [train_batches(images, rows=rows) for rows in (range(2), range(2, 4))]
    for step in range(6):
        parts = [host[step] for host in hosts]
        for name in ("images", "labels", "weights"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole[step], name))


@settings(max_examples=30)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_evaluation_covers_every_image_exactly_once(count, batch_size):
    batches = stream.EvaluationBatches(numbered(count), batch_size, range(batch_size))
    found = [batches[number] for number in range(len(batches))]
    assert {batch.images.shape for batch in found} == {(batch_size, 1, 1, 1)}
    kept = np.concatenate([batch.labels[batch.weights == 1] for batch in found])
    np.testing.assert_array_equal(kept, np.arange(count))
    assert all(np.array_equal(batch.images[:, 0, 0, 0], batch.labels) for batch in found)


def test_a_split_is_read_in_its_order_and_prints_progress(monkeypatch):
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(stream, "_READ", 64)
    lines: list[str] = []
    arrays, problems = stream.read(numbered(100), lines.append)
    np.testing.assert_array_equal(arrays.labels, np.arange(100))
    np.testing.assert_array_equal(arrays.images[:, 0, 0, 0], np.arange(100))
    assert arrays.weights.min() == 1
    assert problems == ()
    assert lines[0].startswith("64 of 100 images decoded, ")
    assert lines[1].startswith("100 of 100 images decoded, ")


def test_an_image_that_cannot_be_decoded_is_named():
    images = numbered(8, bad=frozenset({3}))
    for read in (
        lambda: stream.read(images, print),
        lambda: list(stream.iterate(train_batches(images))),
    ):
        with pytest.raises(ValueError, match=r"^record 3: .*; --on_corrupt=skip leaves such"):
            read()


def test_skipped_images_give_way_in_training_and_do_not_count_in_evaluation():
    images = numbered(8, bad=frozenset({3, 4, 7}), skip=True)
    arrays, problems = stream.read(images, print)
    # The next sound one stands in their place, and is not counted twice.
    np.testing.assert_array_equal(arrays.labels, [0, 1, 2, 5, 5, 5, 6, 0])
    np.testing.assert_array_equal(arrays.images[:, 0, 0, 0], arrays.labels)
    np.testing.assert_array_equal(arrays.weights, [1, 1, 1, 0, 0, 1, 1, 0])
    assert [line.split(":")[0] for line in problems] == ["record 3", "record 4", "record 7"]
    # Streamed, training sees the same as where all lies in memory.
    batches = train_batches(images)
    for step in range(6):
        epoch, position = divmod(step, 2)
        chosen = rng.epoch_order(0, epoch, 8)[4 * position : 4 * position + 4]
        np.testing.assert_array_equal(batches[step].labels, arrays.labels[chosen])
        np.testing.assert_array_equal(batches[step].images, arrays.images[chosen])
    places = np.array([1, 3, 4, 6, 7])
    few = train_batches(images, places=places)
    for epoch in range(3):
        chosen = places[rng.epoch_order(0, epoch, 5)[:4]]
        np.testing.assert_array_equal(few[epoch].labels, arrays.labels[chosen])
    evaluated = stream.EvaluationBatches(images, 8, range(8))[0]
    np.testing.assert_array_equal(evaluated.weights, arrays.weights)
    assert evaluated.problems == problems


def test_a_split_without_an_image_that_can_be_decoded_is_an_error():
    images = numbered(4, bad=frozenset(range(4)), skip=True)
    for read in (lambda: stream.read(images, print), lambda: train_batches(images)[0]):
        with pytest.raises(ValueError, match=r"^record \d: .*; and no other image"):
            read()


@pytest.fixture(scope="module")
def expected():
    batches = streamed.batches()
    return "".join(streamed.line(number, batches[number]) for number in range(len(batches)))


def begin(path, workers, within=(), **pipes):
    command = [*within, sys.executable, "-m", "tests.data.streamed", str(path), str(workers)]
    return subprocess.Popen(command, cwd=commands.ROOT, text=True, **pipes)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_stream_resumes_exactly(tmp_path, workers, expected):
    path = tmp_path / "batches"
    process = begin(path, workers)
    while not path.exists() or path.stat().st_size < 300:
        assert process.poll() is None
        time.sleep(0.002)
    below = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed_at = path.read_text().count("\n")
    assert 0 < killed_at < 160
    # No worker outlives it.
    _, left = psutil.wait_procs(below, timeout=10)
    assert not left
    assert len(below) >= workers
    assert begin(path, workers).wait(timeout=60) == 0
    assert path.read_text() == expected


@pytest.mark.slow
def test_threads_take_over_from_a_worker_that_is_killed(tmp_path, expected):
    path = tmp_path / "batches"
    with begin(path, 1, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not path.exists() or path.stat().st_size < 300:
            assert process.poll() is None
            time.sleep(0.002)
        for child in psutil.Process(process.pid).children():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert path.read_text() == expected
    (line,) = out.splitlines()
    assert line.startswith("--data_workers=1: a process that decodes images was killed, or had no ")
    assert "/dev/shm" in line
    assert "--data_workers=0" in line
    assert err == ""


@pytest.mark.slow
def test_threads_take_over_where_shared_memory_is_too_small_for_a_batch(tmp_path, expected):
    path = tmp_path / "batches"
    own = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=128k tmpfs /dev/shm && "$@"']
    if subprocess.run([*own, "sh", "true"], capture_output=True).returncode:
        pytest.skip("this user cannot mount a /dev/shm of its own")
    with begin(path, 1, [*own, "sh"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    (line,) = out.splitlines()
    assert "/dev/shm, of 0.1 MiB" in line
    assert "--data_workers=0" in line
    assert path.read_text() == expected


def test_threads_take_over_where_processes_have_no_room(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("multiprocessing.synchronize._multiprocessing.SemLock", full)
    batches = train_batches(numbered(8))
    lines: list[str] = []
    found = list(stream.iterate(batches, 1, 1, lines.append))
    assert len(found) == len(batches) - 1
    np.testing.assert_array_equal(found[0].labels, batches[1].labels)
    assert len(lines) == 1


def test_a_stream_that_is_closed_early_ends():
    batches = train_batches(numbered(8))
    with contextlib.closing(stream.iterate(batches, 2)) as found:
        np.testing.assert_array_equal(next(found).labels, batches[2].labels)
