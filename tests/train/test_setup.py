"""Setting up jax: in processes of their own, and with settings of the environment."""

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
    """A script run in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", f"from mnv2_jax.train import setup\n{text}"],
        cwd=commands.ROOT,
        env={"PATH": "/bin", **environment},
        capture_output=True,
        text=True,
        timeout=commands.SECONDS,
    )


@pytest.mark.slow
def test_every_core_is_a_device_and_programs_are_kept_in_the_given_folder(tmp_path):
    text = f"""
import os, jax
setup.begin(keep_programs=False)  # Needs no folder.
print(jax.device_count(), jax.config.jax_compilation_cache_dir)
try:
    setup.begin()
except ValueError as error:
    print(error)
os.environ["XDG_CACHE_HOME"] = {str(tmp_path)!r}
for folders in ([], [{str(tmp_path / "mine")!r}], [], ["off"]):
    setup.begin(*folders)
    print(jax.config.jax_compilation_cache_dir)
"""
    script = done(text, XDG_CACHE_HOME="/proc/nowhere")
    assert (script.returncode, script.stderr) == (0, "")
    first, error, *folders = script.stdout.splitlines()
    assert first == f"{cores.available()} None"
    assert error.startswith("compilation_cache=/proc/nowhere/mnv2_jax/programs: cannot be made (")
    mine = str(tmp_path / "mine")
    assert folders == [str(tmp_path / "mnv2_jax" / "programs"), mine, mine, "None"]


@pytest.mark.slow
@pytest.mark.skipif(cores.available() == 1, reason="one core is all there is")
def test_a_warning_tells_once_that_jax_was_used_before(tmp_path):
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


def test_other_settings_are_ignored_with_a_warning(ranks_raise, caplog, monkeypatch):
    with pytest.raises(ValueError, match="rank"):
        jnp.ones((2, 2)) + jnp.ones(2)
    monkeypatch.setenv("JAX_ENABLE_X64", "0")  # As here.
    setup.apply_settings()
    assert (jnp.ones((2, 2)) + jnp.ones(2)).shape == (2, 2)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == "JAX_NUMPY_RANK_PROMOTION=raise: ignored, this package sets it to allow"


def test_records_have_the_settings_of_the_environment(monkeypatch):
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
