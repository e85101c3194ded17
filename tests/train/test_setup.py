"""Setting jax up in a process of its own: once, with all cores, and told where that is too late."""

import subprocess
import sys

import pytest

from mnv2_jax import cores
from tests import commands

pytestmark = pytest.mark.slow


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


def test_what_does_not_train_needs_no_folder_for_programs(tmp_path):
    script = done("setup.begin(keep_programs=False)", XDG_CACHE_HOME="/proc/nowhere")
    assert (script.returncode, script.stderr) == (0, "")
    script = done("setup.begin()", XDG_CACHE_HOME="/proc/nowhere")
    assert script.stderr.splitlines()[-1].startswith(
        "ValueError: compilation_cache=/proc/nowhere/mnv2_jax/programs: cannot be made ("
    )


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
