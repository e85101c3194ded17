"""Checkpoints: whole, verified or passed over; never a wrong number."""

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

from mnv2_jax import presets
from mnv2_jax.train import parallel
from mnv2_jax.train.checkpoint import Checkpoint, Checkpoints
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram
from tests import commands

# When one array cannot be read, TensorStore goes on to read the others for a loop that has ended.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

IDENTITY = {"runs": ["a", "b"], "network": "0123", "jax": "1.2.3"}


@pytest.fixture(scope="module")
def state(tiny):
    """The states of two lanes, of a recipe with every part that a state can have."""
    recipe = Recipe(1, 8, 8, optimizer="rmsprop", nesterov=False, b2=0.9, epsilon=1.0)
    program = LaneProgram(presets.build(tiny, expansion=2), recipe, 1)
    return parallel.stack([program.initialise(seed) for seed in (0, 1)])


def at(step, state):
    """A snapshot that tells its step."""
    later = jax.tree.map(lambda leaf: leaf + np.asarray(step, leaf.dtype), state)
    curves = [[{"epoch": step, "train_loss": float("nan")}], [{"epoch": step}]]
    return Checkpoint(step, later, curves, 0.5 * step)


def write(folder, state, *steps, identity=IDENTITY):
    checkpoints = Checkpoints(folder, identity)
    for step in steps:
        checkpoints.save(at(step, state), None)
    checkpoints.close()


def read(folder, state, identity=IDENTITY):
    """What is restored, and what is said about what is not."""
    said: list[str] = []
    checkpoints = Checkpoints(folder, identity)
    snapshot = checkpoints.restore(state, said.append)
    checkpoints.close()
    return snapshot, said


def assert_is(snapshot, step, state):
    expected = at(step, state)
    assert (snapshot.step, snapshot.seconds) == (step, expected.seconds)
    assert str(snapshot.curves) == str(expected.curves)
    assert type(snapshot.state) is type(state)

    def same(found, wanted):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)

    jax.tree.map(same, snapshot.state, expected.state)


def test_what_was_saved_comes_back(tmp_path, state):
    write(tmp_path, state, 3, 7)
    snapshot, said = read(tmp_path, state)
    assert_is(snapshot, 7, state)
    assert said == []
    assert read(tmp_path / "none", state) == (None, [])


def test_the_latest_two_and_the_best_are_kept(tmp_path, state):
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    for step, accuracy in enumerate((0.5, 0.9, 0.4, None, 0.8, None), start=1):
        checkpoints.save(at(step, state), accuracy)
    checkpoints.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "5", "6"]


def largest_file(folder):
    """Where the arrays are."""
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
def test_a_damaged_one_is_passed_over_for_an_older_one(tmp_path, state, damage):
    write(tmp_path, state, 3, 7)
    damage(tmp_path / "7")
    snapshot, said = read(tmp_path, state)
    assert_is(snapshot, 3, state)
    (line,) = said
    assert line.startswith(f"checkpoint {tmp_path / '7'} is passed over: ")
    # It is put aside, and training saves the step again.
    assert (tmp_path / "7.unsound").is_dir()
    write(tmp_path, state, 7, 9)
    assert_is(read(tmp_path, state)[0], 9, state)
    shutil.rmtree(tmp_path / "9")
    assert_is(read(tmp_path, state)[0], 7, state)


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_no_sound_one_is_left_training_begins_anew(tmp_path, state, damage):
    write(tmp_path, state, 3)
    damage(tmp_path / "3")
    snapshot, said = read(tmp_path, state)
    assert snapshot is None
    assert len(said) == 1


def test_one_that_was_never_finished_does_not_count(tmp_path, state):
    write(tmp_path, state, 3, 7)
    (tmp_path / "7").rename(tmp_path / "7.orbax-checkpoint-tmp-0")
    snapshot, said = read(tmp_path, state)
    assert_is(snapshot, 3, state)
    assert said == []


def test_another_version_is_refused(tmp_path, state, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("mnv2_jax.train.checkpoint.FORMAT", 99)
        write(tmp_path, state, 3)
    snapshot, (line,) = read(tmp_path, state)
    assert snapshot is None
    assert line.endswith("it has format 99; expected 2")


@pytest.mark.parametrize("name", IDENTITY)
def test_that_of_other_runs_is_refused(tmp_path, state, name):
    write(tmp_path, state, 3, identity={**IDENTITY, name: "other"})
    snapshot, (line,) = read(tmp_path, state)
    assert snapshot is None
    assert line.endswith(f"it is of another run: its {name} differs")


def test_that_of_another_network_is_refused(tmp_path, state):
    write(tmp_path, state, 3)
    wider = np.zeros((2, state.params.vector.shape[1] + 1), np.float32)
    larger = state._replace(params=state.params.with_vector(wider))
    snapshot, said = read(tmp_path, larger)
    assert snapshot is None
    assert len(said) == 1


@pytest.fixture
def without_permissions():
    """A folder, and a block in which this process may not do what any user may not."""

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


def test_one_that_may_not_be_read_is_passed_over(without_permissions, state):
    folder, as_anybody = without_permissions
    with as_anybody():
        write(folder, state, 3, 7)
        largest_file(folder / "7").chmod(0)
        snapshot, (line,) = read(folder, state)
        assert_is(snapshot, 3, state)
        assert "7 is passed over" in line
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


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
import numpy as np
from mnv2_jax.train.checkpoint import Checkpoints, Checkpoint
logging.getLogger("absl").setLevel(logging.CRITICAL)  # As commands do.
folder = Path(sys.argv[1])
checkpoints = Checkpoints(folder, {})
small, large = (np.random.default_rng(0).normal(size=size) for size in (1_000, 100_000))
checkpoints.save(Checkpoint(1, {"a": small}, [], 0.0), None)
checkpoints.wait()
# What a file may hold, as if the disk were full beyond it.
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
def test_on_a_full_disk_the_last_one_stays_whole(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, cwd=commands.ROOT, capture_output=True, text=True, timeout=60)
    *errors, found = done.stdout.splitlines()
    for error in errors:
        assert re.match(f"{tmp_path}: cannot save[^:]*: .*File too large", error)
    assert (len(errors), found) == (4, "1 True")
    assert done.stderr == ""


DAMAGED = """
import os, sys
from pathlib import Path
import numpy as np
from mnv2_jax.train.checkpoint import Checkpoints, Checkpoint
folder = Path(sys.argv[1])
generator = np.random.default_rng(0)
state = {str(number): generator.normal(size=1500) for number in range(12)}
for step in (1, 2, 3):
    checkpoints = Checkpoints(folder, {})
    checkpoints.save(Checkpoint(step, state, [], 0.0), None)
    checkpoints.close()
    files = (path for path in (folder / str(step)).rglob("*") if path.is_file())
    os.truncate(max(files, key=os.path.getsize), 100)
    # All arrays are read at once: others are on their way when the first turns out damaged.
    assert Checkpoints(folder, {}).restore(state, print) is None
"""


@pytest.mark.slow
def test_nothing_but_a_line_is_told_of_a_damaged_one(tmp_path):
    command = [sys.executable, "-c", DAMAGED, str(tmp_path)]
    done = subprocess.run(command, cwd=commands.ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3
