"""One run from the command line: what it writes, how it stops, what it refuses."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from mnv2_jax.train.checkpoint import Checkpoints
from tests import commands
from tests.small import rows_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def compiling_as_users_do():
    # What takes long to compile is kept, and that is looked at here.
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XLA_FLAGS", raising=False)
        yield


def train(*arguments):
    return commands.run("train", *arguments)


@pytest.fixture(scope="module")
def finished(small_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    arguments = (f"--config={small_config}", f"--compilation_cache={folder / 'programs'}")
    status, out, err = train(*arguments, f"--workdir={folder / 'work'}")
    assert status == 0, err
    return folder, out


def test_a_run_that_diverges_is_told(small_config, tmp_path):
    arguments = (f"--config={small_config}", "--config.train.learning_rate=1e30")
    status, out, err = train(*arguments, f"--workdir={tmp_path / 'work'}")
    assert (status, err) == (0, "")
    assert "\n1 run diverged: the loss became NaN or infinite\n" in out
    assert "Its best network" not in out


def test_it_writes_what_an_ablation_writes_and_keeps_its_checkpoints(finished):
    folder, out = finished
    workdir = folder / "work"
    (row,) = rows_of(workdir)
    assert (row["status"], row["lanes"], row["epochs"]) == ("done", "1", "3")
    run = workdir / "runs" / row["run_id"]
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
    environment = json.loads((run / "environment.json").read_text())
    assert environment["parallel"] == "lanes"
    assert environment["notes"] == [
        "images resident: 1,297 images take 0.2 MiB of memory",
        "lanes: one lane has threads on every core already",
    ]
    assert {"report.html", "claims.json"} <= {path.name for path in workdir.iterdir()}
    assert list((workdir / "tensorboard" / row["run_id"]).glob("events.out.tfevents.*"))
    assert f"test accuracy {100 * float(row['test_accuracy']):.1f} %" in out
    (steps,) = workdir.glob("checkpoints/*/steps")
    checkpoints = Checkpoints(steps, {})
    snapshot = checkpoints.restore(None, print)
    checkpoints.close()
    assert snapshot is not None
    assert snapshot.step == 48
    assert len(snapshot.curves[0]) == 3


def test_equal_programs_are_compiled_once(finished, small_config):
    folder, _ = finished
    programs = sorted(path.name for path in (folder / "programs").glob("*-cache"))
    assert programs
    # Another experiment, whose values differ and whose program does not.
    status, _, err = train(
        f"--config={small_config}",
        f"--compilation_cache={folder / 'programs'}",
        f"--workdir={folder / 'other'}",
        "--config.train.learning_rate=0.05",
        "--config.seed=9",
        "--config.model.projection=relu6",
    )
    assert status == 0, err
    assert sorted(path.name for path in (folder / "programs").glob("*-cache")) == programs
    assert not (folder / "off").exists()


def test_asked_to_stop_it_says_where_it_was_and_goes_on_from_there(small_config, tmp_path):
    arguments = (f"--config={small_config}", f"--workdir={tmp_path}", "--config.train.epochs=4000")
    process = commands.start("train", *arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch" in line:
            break
    # The second on a workdir is told of the first.
    status, out, err = train(*arguments)
    assert (status, out) == (2, "")
    assert f"process {process.pid} on " in err
    assert len(err.splitlines()) == 1
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    (line,) = err.splitlines()
    assert line.startswith("python -m experiments.train: stopped by SIGTERM: step ")
    assert line.endswith(" of 64000 is saved; run it again to go on")
    step = int(line.split()[7])
    (note,) = tmp_path.glob("checkpoints/*/steps/*")
    assert int(note.name) == step > 0
    process = commands.start("train", *arguments)
    # It resumes there: the first epoch that it prints is a later one.
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if "epoch" in line:
            break
    assert f"resuming from step {step} of 64000\n" in said
    assert int(line.partition("epoch ")[2].split()[0]) >= step // 16
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "stopped by SIGINT: step " in err


def test_a_terminal_that_is_gone_stops_it_as_a_signal_does(small_config, tmp_path):
    ours, its = pty.openpty()
    enter = (
        "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    arguments = (f"--config={small_config}", f"--workdir={tmp_path}", "--config.train.epochs=4000")
    command = [sys.executable, "-c", enter, "-m", "experiments.train", *arguments]
    with subprocess.Popen(command, cwd=commands.ROOT, stdin=its) as process:
        os.close(its)
        said = b""
        while b"epoch" not in said:
            said += os.read(ours, 1000)
        os.close(ours)
        try:
            assert process.wait(timeout=60) == 128 + signal.SIGHUP
        finally:
            process.kill()
    (step,) = tmp_path.glob("checkpoints/*/steps/*")
    assert int(step.name) > 0


def test_settings_of_elsewhere_are_survived(small_config, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import pwd\npwd.getpwuid = {}.__getitem__\n")
    settings = {
        "JAX_ENABLE_X64": "1",
        "JAX_DISABLE_JIT": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_NO_TRACING": "1",
        "JAX_TRANSFER_GUARD": "disallow",
        "JAX_TRANSFER_GUARD_HOST_TO_DEVICE": "disallow",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # Users have no home, but for HOME.
    monkeypatch.delenv("HOME", raising=False)
    workdir = tmp_path / "w[/red]ü\x1b[31m"
    arguments = (f"--config={small_config}", "--config.train.epochs=1", f"--workdir={workdir}")
    process = commands.start("train", *arguments)
    out, err = process.communicate(timeout=commands.SECONDS)
    assert process.returncode == 0, err
    assert rf"Report: {tmp_path}/w[/red]\xfc\x1b[31m/report.html" in out
    told = [line.partition(": ignored, this package sets it to ")[0] for line in err.splitlines()]
    assert sorted(told) == sorted(f"{name}={value}" for name, value in settings.items())
    assert (workdir / "claims.json").exists()
    (record,) = workdir.glob("runs/*/environment.json")
    assert settings.items() <= json.loads(record.read_text())["settings"].items()
