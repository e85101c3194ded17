"""The ablation from the command line: what it writes, what it skips, what it refuses."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from mnv2_jax import atomic, schema
from mnv2_jax.analysis.verdicts import read_decided
from tests import commands
from tests.data.images import fill
from tests.small import CONFIG, rows_of

pytestmark = pytest.mark.slow

CLAIM_KEYS = {
    *("name", "source", "statement", "metric", "estimate", "ci_low", "ci_high"),
    *("confidence", "pairs", "p_value", "verdict"),
}
WRONG_CLAIM = "[greater('rate', '-', 'Not an axis here', 'train.learning_rate', 0.2, 0.1)]"


def ablate(*arguments):
    return commands.run("ablate", *arguments)


def test_results_are_a_table_of_all_runs(small_trained):
    workdir, _ = small_trained
    rows = rows_of(workdir)
    assert len(rows) == 8
    assert list(rows[0]) == schema.in_order(())
    assert {row["status"] for row in rows} == {"done"}
    assert all(0 <= float(row["test_accuracy"]) <= 1 for row in rows)
    assert all(int(row["params"]) > 0 and int(row["madds"]) > 0 for row in rows)
    assert {row["lanes"] for row in rows} == {"4"}
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_a_run_leaves_its_config_its_curve_and_where_it_was_made(small_trained):
    workdir, _ = small_trained
    for row in rows_of(workdir):
        folder = workdir / "runs" / row["run_id"]
        config = json.loads((folder / "config.json").read_text())
        assert config["seed"] == int(row["seed"])
        assert config["model"]["projection"] == row["projection"]
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
        environment = json.loads((folder / "environment.json").read_text())
        assert environment["libraries"]["jax"]
        counts = [int(row[f"{split}_images"]) for split in ("train", "validation", "test")]
        assert counts == [256, 64, 128]
        assert "experiments.ablate" in environment["command"]


def test_claims_and_report_are_written_and_shown(small_trained):
    workdir, out = small_trained
    (claim,) = read_decided(workdir)
    assert claim.keys() >= CLAIM_KEYS
    assert claim["pairs"] == 4
    assert claim["verdict"] in ("supported", "refuted", "inconclusive")
    assert claim["verdict"] in out
    assert "images/s" in out
    assert "left" in out
    report = (workdir / "report.html").read_text(encoding="utf-8")
    assert "Data set: digits, 128 test images." in report
    assert list((workdir / "figures").glob("*.svg"))


def test_the_second_time_nothing_is_trained(small_trained, small_config):
    workdir, _ = small_trained
    before = {path: path.read_bytes() for path in (workdir / "runs").rglob("*") if path.is_file()}
    table = (workdir / "results.csv").read_bytes()
    status, out, _ = ablate(f"--config={small_config}", f"--workdir={workdir}")
    assert status == 0
    assert "8 finished before, 0 to train" in out
    assert f"\nReport: {workdir}/report.html, not drawn again: " in out
    assert table == (workdir / "results.csv").read_bytes()
    assert before == {path: path.read_bytes() for path in before}


def test_on_a_terminal_finished_runs_are_the_same(small_trained, small_config):
    # Where jax colours what it prints, and a record must not depend on it.
    workdir, _ = small_trained
    terminal, inside = pty.openpty()
    arguments = (f"--config={small_config}", f"--workdir={workdir}")
    with subprocess.Popen(
        [sys.executable, "-m", "experiments.ablate", *arguments],
        cwd=commands.ROOT,
        stdout=inside,
        stderr=inside,
    ) as process:
        os.close(inside)
        shown = b""
        with contextlib.suppress(OSError):  # How a terminal ends.
            while part := os.read(terminal, 4096):
                shown += part
    os.close(terminal)
    assert process.returncode == 0, shown.decode()
    assert b"trained by other code" not in shown


def test_only_what_is_missing_is_trained(small_trained, small_config, tmp_path):
    workdir, _ = small_trained
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", workdir, copy], check=True)
    lost = rows_of(copy)[0]["run_id"]
    for path in (copy / "runs" / lost).iterdir():
        path.unlink()
    (copy / "runs" / "of_another_grid").mkdir()
    status, out, err = ablate(f"--config={small_config}", f"--workdir={copy}")
    assert status == 0, err
    assert "1 run of other configs in this folder: not in the table or the report" in out
    assert "7 finished before, 1 to train" in out
    kept, again = rows_of(workdir), rows_of(copy)
    # Alone or in company, a run comes to the same.
    for name in ("run_id", "test_accuracy", "validation_accuracy"):
        assert [row[name] for row in kept] == [row[name] for row in again]


def test_asked_to_stop_before_its_report_is_drawn_it_says_so(small_trained, small_config, tmp_path):
    workdir, _ = small_trained
    report = (workdir / "report.html").read_bytes()
    out, err = tmp_path / "out", tmp_path / "err"
    with atomic.in_turns(workdir / ".report.lock"):  # So that it has to wait.
        process = commands.begin(
            out, err, "ablate", f"--config={small_config}", f"--workdir={workdir}"
        )
        commands.wait_for("Runs: ", out, process)
        process.terminate()
        process.join(commands.SECONDS)
    assert process.exitcode == 128 + signal.SIGTERM
    told = "stopped by SIGTERM: nothing was in training; run it again to go on"
    assert err.read_text() == f"python -m experiments.ablate: {told}\n"
    assert (workdir / "report.html").read_bytes() == report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.model.expansoin=6"], "config.model.expansoin: no such field; did you mean exp"),
        (["--config.modle.expansion=6"], "config.modle: no such field; did you mean model"),
        (["--config.model.expansion=six"], "config.model.expansion=six: expected a value of type"),
        (["--config.model=foo"], "config.model=foo: expected a field below it, such as config.mod"),
        (["--config.train.nesterov=yes"], "config.train.nesterov=yes: expected True or False"),
        (["--config.seed.x=1"], "config.seed.x: no such field; config.seed is one, not"),
        (["--workdir=http://foo/x", "--dry_run"], "--workdir=http://foo/x: expected a folder, gs"),
        (["--config.train.learning_rate=nan"], "config.train.learning_rate=nan: expected a finite"),
        (["--config.train.epochs=1.5"], "config.train.epochs=1.5: expected a value of type int"),
        (["--config.model.expansion=0"], "config.model.expansion=0.0: expected a number above 0"),
        (["--workdir=README.md"], "--workdir=README.md: it is a file; expected a folder"),
        (["--workdir=/proc/nowhere"], "--workdir=/proc/nowhere: cannot write there"),
        (["--config.parallel=pods"], "config.parallel='pods': expected one of auto, lanes, batch"),
        (["--checkpoint_seconds=-1"], "flag --checkpoint_seconds=-1: -1.0 is not a non-negative"),
        (["--compilation_cache=/proc/x"], "--compilation_cache=/proc/x: cannot be made"),
        (["--ray_address=auto"], "--ray_address=auto: nothing reads it; expected --launcher=ray"),
        (["--distributed"], "--distributed: coordinator_address should be defined"),
        (
            ["--config=configs/folder.py"],
            "--config=configs/folder.py: expected configs/folder.py:",
        ),
        (["--config=configs/none.py"], "--config=configs/none.py: no such file"),
        (
            ["--config=configs/digits_recipe.py:2"],
            "--config=configs/digits_recipe.py:2: configs/digits_recipe.py takes no argument",
        ),
        (["--config=configs/digits.py:2"], "--config: '2' after the colon: expected one of lin"),
        (
            ["--config=configs/cifar10.py:large"],
            "--config: 'large' after the colon: expected smoke",
        ),
        (["--confg=configs/digits.py"], "Unknown command line flag 'confg'"),
        (["rubbish"], "rubbish: unknown argument"),
    ],
)
def test_wrong_input_gives_one_line_and_status_2(small_config, arguments, message, tmp_path):
    status, out, err = ablate(
        f"--config={small_config}", f"--workdir={tmp_path / 'work'}", *arguments
    )
    assert status == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith(f"python -m experiments.ablate: {message}"), err
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("way", ["--workdir={}/work", "--dry_run", "--preview={}/seen.png"])
def test_what_no_memory_holds_is_refused_before_it_is_allocated(small_config, tmp_path, way):
    status, out, err = ablate(
        f"--config={small_config}",
        "--config.data.resolution=1024",
        "--config.train.evaluation_batch_size=65536",
        way.format(tmp_path),
    )
    assert (status, out) == (2, "")
    assert re.fullmatch(
        r"python -m experiments.ablate: config.train.evaluation_batch_size=65536: the largest "
        r"activation of a batch alone takes [\d,]+\.\d GiB of memory, of [\d,.]+ usable; expected "
        r"a smaller value\n",
        err,
    )
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith("lock")
    ]


def test_an_empty_grid_is_refused(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text(CONFIG.replace("range(2)", "range(0)"))
    status, _, err = ablate(f"--config={path}", f"--workdir={tmp_path / 'work'}")
    assert status == 2
    assert err == (
        "python -m experiments.ablate: grid: it is empty; "
        "expected at least one value on every axis\n"
    )


def test_a_claim_about_no_column_is_refused_before_anything_trains(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(CONFIG.replace("digits.get_claims()[:1]", WRONG_CLAIM))
    status, _, err = ablate(f"--config={path}", f"--workdir={tmp_path / 'work'}")
    assert status == 2
    assert "axis 'train.learning_rate' is not a column to compare" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "work").exists()


def test_a_folder_of_images_is_planned_whatever_its_name(tmp_path):
    folder = tmp_path / "my photos, é:x"
    fill(folder, *(f"{kind}/{number}.png" for kind in ("ant", "bee") for number in range(60)))
    arguments = ("--config.train.batch_size=8", "--dry_run")
    status, out, err = ablate(f"--config=configs/folder.py:{folder}/,shortcut", *arguments)
    assert status == 0, err
    assert "Axes: model.shortcut bottleneck, none, expansion; seed 0 to 5" in out
    assert re.search(
        r"my photos, é:x/: classes: 2; images: train \d+, validation \d+, test \d+", out
    )
    (folder / "bee/7.png").write_bytes(b"")
    status, out, err = ablate(f"--config=configs/folder.py:{folder}", *arguments)
    (line,) = err.splitlines()
    assert status == 2
    assert "1 of 120 images cannot be decoded: bee/7.png (it is empty); --on_corrupt=skip" in line
    status, out, err = ablate(
        f"--config=configs/folder.py:{folder}", "--on_corrupt=skip", *arguments
    )
    assert status == 0, err


def test_an_axis_that_the_block_ignores_is_refused(small_config, tmp_path):
    arguments = (f"--config={small_config}", "--config.model.block=separable")
    status, out, err = ablate(*arguments, f"--workdir={tmp_path / 'work'}")
    assert (status, out) == (2, "")
    assert err.startswith(
        "python -m experiments.ablate: grid: model.expansion: with block 'separable' its "
        "values 1 and 2 are the same network; expected one of them, such as"
    )
    assert "--config.model.expansion=" in err
