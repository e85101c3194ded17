"""No compiled program is used that differs from the one that was written."""

import os
import stat
import warnings
import zlib

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from mnv2_jax.train import compilation

WHOLE = zlib.compress(bytes(range(256)) * 8)
ZSTANDARD = b"\x28\xb5\x2f\xfd"  # The start of an entry without a checksum.


@pytest.fixture(autouse=True)
def restored():
    yield
    compilation.keep_programs(None)
    compilation_cache.reset_cache()


def kept(folder):
    """The entries that remain when programs are kept in the folder, and the lines."""
    lines: list[str] = []
    compilation.keep_programs(folder, lines.append)
    return {path.name.removesuffix("-cache") for path in folder.glob("*-cache")}, lines


def test_programs_are_kept_in_the_folder_and_off_is_off(tmp_path):
    compilation.keep_programs(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "a" / "b")
    compilation.keep_programs(None)
    assert jax.config.values["jax_compilation_cache_dir"] is None


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """The folder of programs, with the entry of one that jax compiled."""
    monkeypatch.setattr(compilation, "_SECONDS", 0.0)
    compilation_cache.reset_cache()
    compilation.keep_programs(tmp_path)
    assert program() == 42
    (entry,) = tmp_path.glob("*double*-cache")
    return entry


def program():
    """The result of a program that is compiled, or read, each time."""

    def double(x):
        return 2 * x

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # jax warns of an entry that it cannot read.
        return int(jax.jit(double)(jnp.int32(21)))


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_a_damaged_program_is_removed_with_a_line_and_compiled_again(compiled, damage):
    whole = compiled.read_bytes()
    assert kept(compiled.parent)[1] == []
    assert compiled.read_bytes() == whole
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    mtime = compiled.stat().st_mtime_ns
    compiled.write_bytes(flipped if damage == "flipped" else whole[:-9])
    os.utime(compiled, ns=(mtime, mtime))
    _, (line,) = kept(compiled.parent)
    assert compiled.name in line
    assert "removed, to be compiled again" in line
    assert not compiled.exists()
    assert program() == 42
    assert compiled.exists()
    assert kept(compiled.parent)[1] == []
    assert compiled.exists()


def test_the_hash_counts_whatever_the_compression(tmp_path):
    kept(tmp_path)
    (tmp_path / "a-cache").write_bytes(WHOLE)
    assert kept(tmp_path) == ({"a"}, [])
    # A whole one, but not the one that was written.
    (tmp_path / "a-cache").write_bytes(zlib.compress(b"another program"))
    assert kept(tmp_path)[0] == set()


def test_without_a_hash_only_an_entry_with_a_checksum_stays(tmp_path):
    contents = {"whole": WHOLE, "torn": WHOLE[:-9], "empty": b"", "other": ZSTANDARD + b"123456"}
    for name, content in contents.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
    os.mkfifo(tmp_path / "fifo-cache")
    left, (line,) = kept(tmp_path)
    assert left == {"whole"}
    assert "programs that are damaged or have no hash: 4; removed" in line
    assert kept(tmp_path) == ({"whole"}, [])


def test_a_hash_without_its_entry_is_removed(tmp_path):
    (tmp_path / "a-cache").write_bytes(WHOLE)
    kept(tmp_path)
    (tmp_path / "a-cache").unlink()
    kept(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o777])
def test_the_folder_is_private_and_programs_that_others_may_have_written_go(tmp_path, mode):
    (tmp_path / "a-cache").write_bytes(WHOLE)
    tmp_path.chmod(mode)
    left, lines = kept(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    if mode & 0o022:
        assert left == set()
        assert "others could write there" in lines[0]
    else:
        assert (left, lines) == ({"a"}, [])


@pytest.mark.parametrize("fault", ["others can write there", "it belongs to another user"])
def test_a_folder_that_cannot_be_private_is_not_used(tmp_path, monkeypatch, fault):
    if fault == "others can write there":
        tmp_path.chmod(0o777)
        monkeypatch.setattr(type(tmp_path), "chmod", lambda path, mode: None)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    _, (line,) = kept(tmp_path)
    assert line.startswith(f"{tmp_path}: {fault}")
    assert jax.config.values["jax_compilation_cache_dir"] is None


def test_compilation_is_timed_and_what_the_cache_has_takes_the_compiler_no_time(compiled):
    compiled.unlink()
    jax.clear_caches()
    with compilation.timed() as first:
        program()
    assert 0 < first.compiler < first.seconds
    assert compiled.name in first.entries
    assert compilation.are_kept(first.entries)
    jax.clear_caches()
    with compilation.timed() as again:
        program()
    assert (again.compiler, again.entries) == (0, ())
    assert again.seconds > 0
    compiled.unlink()
    assert not compilation.are_kept(first.entries)
    assert not compilation.are_kept(())
