import os
import zlib

import jax
import pytest

from mnv2_jax.train import compilation


@pytest.fixture(autouse=True)
def restored():
    yield
    compilation.keep_programs(None)


def test_programs_are_kept_in_the_folder_and_off_is_off(tmp_path):
    compilation.keep_programs(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "a" / "b")
    compilation.keep_programs(None)
    assert jax.config.values["jax_compilation_cache_dir"] is None


def test_half_written_programs_are_removed_and_whole_ones_stay(tmp_path):
    whole = zlib.compress(bytes(range(256)) * 8)
    entries = {"whole": whole, "torn": whole[:-9], "empty": whole[:1], "other": b"\x28\xb5\x2f\xfd"}
    for name, content in entries.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
    compilation.keep_programs(tmp_path)
    left = {path.name for path in tmp_path.glob("*-cache")}
    assert left == {"whole-cache", "other-cache"}
    # What was checked is not read again.
    (tmp_path / "old-cache").write_bytes(whole[:-9])
    os.utime(tmp_path / "old-cache", (0, 0))
    compilation.keep_programs(tmp_path)
    assert (tmp_path / "old-cache").exists()
