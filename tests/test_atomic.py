import multiprocessing
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
