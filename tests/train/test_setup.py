"""Setting jax up: in processes of their own, and with settings from where a command is typed."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from mnv2_jax import cores
from mnv2_jax.train import environment, setup
from tests import commands


def done(text, **environment):
    """A script in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", f"from mnv2_jax.train import setup\n{text}"],
        cwd=commands.ROOT,
        env={"PATH": "/bin", **environment},
        capture_output=True,
        text=True,
        timeout=commands.SECONDS,
    )


@pytest.mark.slow
def test_every_core_is_a_device_and_programs_are_kept_where_it_is_said(tmp_path):
    text = f"""
import jax
setup.begin()
print(jax.device_count(), jax.config.jax_compilation_cache_dir)
setup.begin({str(tmp_path / "mine")!r})
setup.begin()
print(jax.config.jax_compilation_cache_dir)
setup.begin("off")
print(jax.config.jax_compilation_cache_dir)
"""
    script = done(text, XDG_CACHE_HOME=str(tmp_path))
    assert script.returncode == 0, script.stderr
    kept = tmp_path / "mnv2_jax" / "programs"
    assert script.stdout.splitlines() == [
        f"{cores.available()} {kept}",
        f"{tmp_path / 'mine'}",
        "None",
    ]


@pytest.mark.slow
def test_what_does_not_train_needs_no_folder_for_programs(tmp_path):
    script = done("setup.begin(keep_programs=False)", XDG_CACHE_HOME="/proc/nowhere")
    assert (script.returncode, script.stderr) == (0, "")
    script = done("setup.begin()", XDG_CACHE_HOME="/proc/nowhere")
    assert script.stderr.splitlines()[-1].startswith(
        "ValueError: compilation_cache=/proc/nowhere/mnv2_jax/programs: cannot be made ("
    )


@pytest.mark.slow
@pytest.mark.skipif(cores.available() == 1, reason="one core is all there is")
def test_jax_that_was_used_before_is_told_once(tmp_path):
    text = "import jax\njax.devices()\nsetup.begin('off')\nsetup.begin()"
    script = done(text, XDG_CACHE_HOME=str(tmp_path))
    assert script.returncode == 0, script.stderr
    (line,) = script.stderr.splitlines()
    assert line.startswith(
        f"jax was used before, with 1 CPU device: training takes 1 of {cores.available()} cores; "
        f"expected"
    )


@pytest.fixture
def ranks_raise(monkeypatch):
    monkeypatch.setenv("JAX_NUMPY_RANK_PROMOTION", "raise")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    yield
    jax.config.update("jax_numpy_rank_promotion", "allow")


def test_settings_that_programs_are_not_made_for_are_set_aside_and_told(ranks_raise, caplog):
    with pytest.raises(ValueError, match="rank"):
        jnp.ones((2, 2)) + jnp.ones(2)
    setup.set_aside()
    assert (jnp.ones((2, 2)) + jnp.ones(2)).shape == (2, 2)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == "JAX_NUMPY_RANK_PROMOTION=raise: set aside, it is allow here"


def test_nothing_is_told_where_nothing_differs(monkeypatch, caplog):
    monkeypatch.setenv("JAX_ENABLE_X64", "0")
    setup.set_aside()
    assert caplog.records == []


def test_records_have_what_is_set(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("JAX_", "XLA_"))]:
        monkeypatch.delenv(name)
    assert "settings" not in environment.describe("test")
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    settings = {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    assert environment.describe("test")["settings"] == settings


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize")])
def test_a_platform_without_device_is_refused(monkeypatch, error):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(ValueError, match=r"^JAX_PLATFORMS=cuda: there is no such device here.*cpu"):
        setup.check_devices()
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(type(error)):
        setup.check_devices()
