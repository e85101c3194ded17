import errno
import fcntl
import multiprocessing
import os
import re
import socket
import sys
import threading
import time

import pytest

from mnv2_jax import atomic


def test_text_replaces_what_was_there(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    atomic.write_text(path, "one")
    atomic.write_text(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    atomic.write_bytes(path, b"old")
    with pytest.raises(TypeError):
        atomic.write_bytes(path, object())  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_when_its_block_ends(tmp_path):
    target = tmp_path / "set"
    with atomic.folder(target) as staging:
        (staging / "a").write_text("a")
        assert not target.exists()
    assert (target / "a").read_text() == "a"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_whose_block_fails_never_appears(tmp_path):
    def fill():
        with atomic.folder(tmp_path / "set") as staging:
            (staging / "a").write_text("a")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_is_kept(tmp_path):
    target = tmp_path / "set"
    with atomic.folder(target) as staging:
        (staging / "a").write_text("first")
        with atomic.folder(target) as quicker:
            (quicker / "a").write_text("second")
    assert (target / "a").read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


def _rewrite_forever(path, started):
    started.set()
    while True:
        atomic.write_text(path, "a" * 200_000)
        atomic.write_text(path, "b" * 200_000)


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file"
    context = multiprocessing.get_context("spawn")
    for delay in (0.01, 0.03, 0.05):
        started = context.Event()
        writer = context.Process(target=_rewrite_forever, args=(path, started))
        writer.start()
        assert started.wait(30)
        while not path.exists():
            time.sleep(0.001)
        time.sleep(delay)
        writer.kill()
        writer.join()
        assert path.read_text() in ("a" * 200_000, "b" * 200_000)


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def no_flock(request, monkeypatch, caplog):
    """A file system that has no locks, such as some of Lustre's and NFS's."""

    def flock(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(atomic, "_SECONDS_BETWEEN_TRIES", 0.001)
    atomic._warn_of_claims.cache_clear()


def claim(folder, part=""):
    return atomic.claimed(folder, f"--workdir={folder}", part)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [("", "", False), ("a", "", False), ("", "a", False), ("a", "a", False), ("a", "b", True)],
)
def test_claims_without_locks_of_the_file_system(
    no_flock, tmp_path, caplog, first, second, together
):
    with claim(tmp_path, first):
        if together:
            with claim(tmp_path, second):
                pass
        else:
            holder = f"process {os.getpid()} on {socket.gethostname()}"
            with pytest.raises(ValueError, match=f"{holder} .* is at work there"):
                claim(tmp_path, second).__enter__()
    with claim(tmp_path, second):
        pass
    assert list(tmp_path.glob("*.held-*")) == [] == list(tmp_path.glob(".*.held-*"))
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "files cannot be locked on this file system"
    ]


@pytest.mark.parametrize(
    ("pid", "started", "host", "is_stale"),
    [
        (2**22 + 1, "7", None, True),  # More than there can be.
        (os.getpid(), "7", None, sys.platform == "linux"),  # Its number was given to a later one.
        (2**22 + 1, "7", "elsewhere-1", False),
    ],
    ids=["of no process", "of an older process", "elsewhere"],
)
def test_claims_of_dead_processes_of_this_host_are_taken_over(
    no_flock, tmp_path, pid, started, host, is_stale
):
    claimed = atomic._Claim("alone", pid, started, host or socket.gethostname())
    left = tmp_path / f".lock.held-{claimed}"
    left.touch()
    if is_stale:
        with claim(tmp_path):
            assert not left.exists()
        return
    with pytest.raises(
        ValueError, match=f"process {pid} on {host} .*remove {re.escape(str(left))}"
    ):
        claim(tmp_path).__enter__()
    assert left.exists()


def test_turns_are_taken_without_locks_of_the_file_system(no_flock, tmp_path):
    inside, most, done = [], [], []

    def take_turns():
        for _ in range(3):
            with atomic.in_turns(tmp_path / ".report.lock"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.005)
                inside.pop()
        done.append(1)

    threads = [threading.Thread(target=take_turns, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(done), len(most), max(most)) == (4, 12, 1)


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_others_hold_is_one(monkeypatch, tmp_path, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ValueError, match="another process is at work there"):
        claim(tmp_path).__enter__()


def test_every_holder_is_named(tmp_path):
    for _ in range(2):
        with claim(tmp_path):
            told = re.escape(f"process {os.getpid()} on {socket.gethostname()} is at work there")
            with pytest.raises(ValueError, match=told):
                claim(tmp_path).__enter__()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_in_the_place_of_a_lock_is_named_with_what_to_do(tmp_path, make):
    make(tmp_path / ".lock")
    with pytest.raises(ValueError, match=r"/\.lock: expected the file of a lock, .*; remove it$"):
        claim(tmp_path).__enter__()
    with pytest.raises(ValueError, match=r"remove it$"), atomic.in_turns(tmp_path / ".lock"):
        pass
