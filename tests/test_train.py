"""One run from the command line: what it writes, how it stops, what it refuses."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from mnv2_jax.train.checkpoint import Checkpoints
from tests import commands
from tests.small import CONFIG, rows_of

pytestmark = pytest.mark.slow


def train(*arguments):
    return commands.run("train", *arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a config, a workdir and compiled programs; what the training printed."""
    folder = tmp_path_factory.mktemp("work")
    # All programs are kept, however long they took to compile.
    keep_all = "from mnv2_jax.train import compilation\ncompilation._SECONDS = 0.0\n"
    (folder / "small.py").write_text(keep_all + CONFIG)
    status, out, err = train_in(folder, "work")
    assert status == 0, err
    return folder, out


def train_in(folder, workdir, *arguments):
    config, cache = f"--config={folder}/small.py", f"--compilation_cache={folder}/programs"
    return train(config, cache, f"--workdir={folder}/{workdir}", *arguments)


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
        "images resident: 320 images take 0.1 MiB of memory",
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
    assert snapshot.step == 12
    assert len(snapshot.curves[0]) == 3


def test_equal_programs_are_compiled_once_and_a_run_that_diverges_is_told(finished):
    folder, _ = finished
    programs = sorted(path.name for path in (folder / "programs").glob("*-cache"))
    assert programs
    # Another experiment, whose values differ and whose program does not.
    changes = ("train.learning_rate=1e30", "seed=9", "model.projection=relu6")
    status, out, err = train_in(folder, "other", *(f"--config.{change}" for change in changes))
    assert (status, err) == (0, "")
    assert sorted(path.name for path in (folder / "programs").glob("*-cache")) == programs
    assert "\n1 run diverged: the loss became NaN or infinite\n" in out
    assert "Its best network" not in out


def test_asked_to_stop_it_says_where_it_was_and_goes_on_from_there(small_config, tmp_path):
    workdir, out, err = (tmp_path / name for name in ("work", "out", "err"))
    arguments = (f"--config={small_config}", f"--workdir={workdir}", "--config.train.epochs=4000")
    process = commands.begin(out, err, "train", *arguments)
    commands.wait_for("epoch", out, process)
    # The second on a workdir is told of the first.
    status, told, error = train(*arguments)
    assert (status, told) == (2, "")
    assert f"process {process.pid} on " in error
    assert len(error.splitlines()) == 1
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(commands.SECONDS)
    assert process.exitcode == 128 + signal.SIGTERM
    (line,) = err.read_text().splitlines()
    assert line.startswith("python -m experiments.train: stopped by SIGTERM: step ")
    assert line.endswith(" of 16000 is saved; run it again to go on")
    step = int(line.split()[7])
    (note,) = workdir.glob("checkpoints/*/steps/*")
    assert int(note.name) == step > 0
    # It resuming from there: the first epoch that it tells of is a later one.
    process = commands.begin(out, err, "train", *arguments)
    commands.wait_for(f"resuming from step {step} of 16000\n", out, process)
    said = commands.wait_for("epoch ", out, process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(commands.SECONDS)
    assert int(said.partition("epoch ")[2].split()[0]) >= step // 4
    assert process.exitcode == 128 + signal.SIGINT
    assert "stopped by SIGINT: step " in err.read_text()


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
