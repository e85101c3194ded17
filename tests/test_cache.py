from pathlib import Path

import pytest

from mnv2_jax import cache


def test_a_user_without_home_is_told_what_to_set(monkeypatch, tmp_path):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(ValueError, match=r"^HOME: it is not set, .* XDG_CACHE_HOME"):
        cache.folder()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "mnv2_jax"
