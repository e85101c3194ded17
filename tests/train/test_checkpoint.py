"""Checkpoints: restored exactly, or skipped; never a wrong number."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

from mnv2_jax.train import parallel
from mnv2_jax.train.checkpoint import Checkpoint, Checkpoints
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram
from tests import commands

# When one array cannot be read, TensorStore keeps reading the others for a closed event loop.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

IDENTITY = {"runs": ["a", "b"], "network": "0123", "jax": "1.2.3"}


@pytest.fixture(scope="module")
def state(one_block):
    """The states of two lanes, with every part that a state can have."""
    recipe = Recipe(1, 8, 8, optimizer="rmsprop", nesterov=False, b2=0.9, epsilon=1.0, ema=0.9)
    program = LaneProgram(one_block, recipe, 1)
    return parallel.stack([program.initialise(seed) for seed in (0, 1)])


def at(step, state):
    """A snapshot whose numbers depend on the step."""
    later = jax.tree.map(lambda leaf: leaf + np.asarray(step, leaf.dtype), state)
    curves = [[{"epoch": step, "train_loss": float("nan")}], [{"epoch": step}]]
    return Checkpoint(step, later, curves, 0.5 * step)


def write(folder, state, *steps, identity=IDENTITY):
    checkpoints = Checkpoints(folder, identity)
    for step in steps:
        checkpoints.save(at(step, state), None)
    checkpoints.close()


def read(folder, state, identity=IDENTITY):
    """The snapshot that is restored, and the lines about those that are not."""
    lines: list[str] = []
    checkpoints = Checkpoints(folder, identity)
    snapshot = checkpoints.restore(state, lines.append)
    checkpoints.close()
    return snapshot, lines


def assert_is(snapshot, step, state):
    expected = at(step, state)
    assert (snapshot.step, snapshot.seconds) == (step, expected.seconds)
    assert str(snapshot.curves) == str(expected.curves)
    assert type(snapshot.state) is type(state)

    def same(found, wanted):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)

    jax.tree.map(same, snapshot.state, expected.state)


def test_the_last_one_is_restored_exactly(tmp_path, state):
    write(tmp_path, state, 3, 7)
    snapshot, lines = read(tmp_path, state)
    assert_is(snapshot, 7, state)
    assert lines == []
    assert read(tmp_path / "none", state) == (None, [])


def test_the_latest_two_and_the_best_are_kept(tmp_path, state):
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    for step, accuracy in enumerate((0.5, 0.9, 0.4, None, 0.8, None), start=1):
        checkpoints.save(at(step, state), accuracy)
    checkpoints.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "5", "6"]


def largest_file(folder):
    """The file with the arrays."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=os.path.getsize)


def truncated(folder):
    path = largest_file(folder)
    os.truncate(path, path.stat().st_size // 2)


def flipped(folder):
    path = largest_file(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def flipped_content(folder):
    path = folder / "content" / "metadata"
    path.write_text(path.read_text().replace("train_loss", "train_lass"))


def flipped_metrics(folder):
    path = folder / "metrics" / "metrics"
    path.write_text(path.read_text()[1:])


def of_another_type(folder):
    (folder / "_CHECKPOINT_METADATA").write_text("7")


def too_deep(folder):
    (folder / "_CHECKPOINT_METADATA").write_text("[" * 10**5)


def pipe(folder):
    path = folder / "content" / "metadata"
    path.unlink()
    os.mkfifo(path)


def endless(folder):
    path = largest_file(folder)
    path.unlink()
    path.symlink_to("/dev/zero")


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def without_metadata(folder):
    for path in [*folder.rglob("_*METADATA"), folder / "content" / "metadata"]:
        path.unlink()


def half_written(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files[::2]:
        path.unlink()


DAMAGES = (
    *(truncated, flipped, flipped_content, flipped_metrics),
    *(of_another_type, too_deep, pipe, endless),
    *(emptied, without_metadata, half_written),
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_skipped_for_an_older_one(tmp_path, state, damage):
    write(tmp_path, state, 3, 7)
    damage(tmp_path / "7")
    snapshot, (line,) = read(tmp_path, state)
    assert_is(snapshot, 3, state)
    assert line.startswith(f"checkpoint {tmp_path / '7'} is skipped: ")
    # It is put aside, and training saves the step again.
    assert (tmp_path / "7.unsound").is_dir()
    write(tmp_path, state, 7)
    assert_is(read(tmp_path, state)[0], 7, state)
    for step in ("3", "7"):
        damage(tmp_path / step)
    snapshot, lines = read(tmp_path, state)
    assert snapshot is None
    assert len(lines) == 2


def test_an_unfinished_one_is_ignored(tmp_path, state):
    write(tmp_path, state, 3, 7)
    (tmp_path / "7").rename(tmp_path / "7.orbax-checkpoint-tmp-0")
    snapshot, lines = read(tmp_path, state)
    assert_is(snapshot, 3, state)
    assert lines == []


def test_another_version_is_refused(tmp_path, state, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("mnv2_jax.train.checkpoint.FORMAT", 99)
        write(tmp_path, state, 3)
    snapshot, (line,) = read(tmp_path, state)
    assert snapshot is None
    assert line.endswith("it has format 99; expected 3")


def test_one_of_another_run_or_network_is_refused(tmp_path, state):
    write(tmp_path, state, 3)
    for name in IDENTITY:
        snapshot, (line,) = read(tmp_path, state, identity={**IDENTITY, name: "other"})
        assert snapshot is None
        assert line.endswith(f"it is of another run: its {name} differs")
        (tmp_path / "3.unsound").rename(tmp_path / "3")
    wider = np.zeros((2, state.params.vector.shape[1] + 1), np.float32)
    snapshot, lines = read(tmp_path, state._replace(params=state.params.with_vector(wider)))
    assert snapshot is None
    assert len(lines) == 1


@pytest.fixture
def without_permissions():
    """A folder, and a context in which this process has no more rights than any user."""

    @contextlib.contextmanager
    def as_anybody():
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name), as_anybody


def test_one_that_may_not_be_read_is_skipped(without_permissions, state):
    folder, as_anybody = without_permissions
    with as_anybody():
        write(folder, state, 3, 7)
        largest_file(folder / "7").chmod(0)
        snapshot, (line,) = read(folder, state)
        assert_is(snapshot, 3, state)
        assert "7 is skipped" in line
        largest_file(folder / "7.unsound").chmod(0o600)


def test_a_folder_that_may_not_be_written_to_is_refused(without_permissions, state):
    outer, as_anybody = without_permissions
    folder = outer / "steps"
    with as_anybody():
        write(folder, state, 3)
        folder.chmod(0o555)
        checkpoints = Checkpoints(folder, IDENTITY)
        snapshot = at(7, state)
        with pytest.raises(OSError, match=f"^{folder}: cannot save"):
            checkpoints.save(snapshot, None)
        folder.chmod(0o777)
    assert_is(read(folder, state)[0], 3, state)


SCRIPT = """
import logging, os, resource, sys
from pathlib import Path
import numpy as np
from mnv2_jax.train.checkpoint import Checkpoints, Checkpoint
logging.getLogger("absl").setLevel(logging.CRITICAL)  # As commands do.
generator = np.random.default_rng(0)

# All arrays are read at once: others are on their way when the first turns out damaged.
damaged = Path(sys.argv[1]) / "damaged"
state = {str(number): generator.normal(size=1500) for number in range(12)}
for step in (1, 2, 3):
    checkpoints = Checkpoints(damaged, {})
    checkpoints.save(Checkpoint(step, state, [], 0.0), None)
    checkpoints.close()
    files = (path for path in (damaged / str(step)).rglob("*") if path.is_file())
    os.truncate(max(files, key=os.path.getsize), 100)
    assert Checkpoints(damaged, {}).restore(state, print) is None

# A limit on the size of files, as if the disk were full beyond it.
folder = Path(sys.argv[1]) / "full"
checkpoints = Checkpoints(folder, {})
small, large = (generator.normal(size=size) for size in (1_000, 100_000))
checkpoints.save(Checkpoint(1, {"a": small}, [], 0.0), None)
checkpoints.wait()
for step, size in enumerate((8_000, 16_000, 32_000, 400_000), start=2):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        checkpoints.save(Checkpoint(step, {str(n): large + n for n in range(12)}, [], 0.0), None)
        checkpoints.wait()
    except OSError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
found = Checkpoints(folder, {}).restore(None, print)
print(found.step, np.array_equal(found.state["a"], small))
"""


@pytest.mark.slow
def test_damaged_files_and_a_full_disk_print_a_line_and_leave_the_last_one(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(
        command, cwd=commands.ROOT, capture_output=True, text=True, timeout=commands.SECONDS
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 3 + 4 + 1
    assert all(" is skipped: " in line for line in lines[:3])
    for error in lines[3:7]:
        assert re.match(f"{tmp_path}/full: cannot save[^:]*: .*File too large", error)
    assert lines[7] == "1 True"
