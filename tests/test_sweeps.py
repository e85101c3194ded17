"""Sweeps in parts, end to end: --shard, --dry_run, status and merge."""

import json
import os
import re
import shutil

import pytest

from mnv2_jax import atomic, checksums
from mnv2_jax.analysis.verdicts import read_decided
from tests import commands
from tests.small import CONFIG, curves_of, rows_of

pytestmark = pytest.mark.slow


@pytest.fixture
def whole(small_trained):
    """The workdir of the whole grid, trained by one process."""
    workdir, _ = small_trained
    return workdir


@pytest.fixture
def machines(whole, tmp_path):
    """The folders of two machines, one with the runs of each of two shards."""
    runs = [row["run_id"] for row in rows_of(whole)]
    folders = [tmp_path / "a", tmp_path / "b"]
    # The second cohort costs more: its first run makes up for that.
    for folder, of_others in zip(folders, (runs[5:], runs[:5]), strict=True):
        shutil.copytree(whole, folder)
        for run in of_others:
            shutil.rmtree(folder / "runs" / run)
    return folders


def test_shards_side_by_side_in_one_workdir_train_the_whole(small_config, whole, tmp_path):
    workdir = tmp_path / "shared"
    shard = ("ablate", f"--config={small_config}", f"--workdir={workdir}")
    trained = []
    for status, out, err in commands.run_side_by_side([(*shard, f"--shard={n}/2") for n in (1, 2)]):
        assert status == 0, err
        trained.append(out.splitlines()[-1].partition(" runs trained")[0])
    assert trained == ["5", "3"]
    # Whichever ended last has seen all.
    assert len(rows_of(workdir)) == 8
    (claim,) = read_decided(workdir)
    assert claim["stated"]["finished"] == 0  # Stated before any run.
    assert claim["pairs"] == 4
    assert curves_of(workdir).keys() == curves_of(whole).keys()
    measured = {row["run_id"]: row["test_accuracy"] for row in rows_of(workdir)}
    assert measured == {row["run_id"]: row["test_accuracy"] for row in rows_of(whole)}
    assert not list((workdir / "training").iterdir())


def test_shards_of_two_machines_are_merged(small_config, machines, tmp_path):
    status, out, err = commands.run("status", f"--workdir={machines[0]}", "--format=json")
    assert status == 0, err
    found = json.loads(out)
    assert (found["all"]["done"], found["all"]["waiting"]) == (5, 3)
    together = tmp_path / "together"
    status, out, err = commands.run("merge", f"--workdir={together}", *machines)
    assert status == 0, err
    copied, following = out.splitlines()
    assert copied == f"{together}: 8 runs copied, 0 there before or in several folders"
    command = ("ablate", f"--config={small_config}", f"--workdir={together}")
    assert following == f"Next: python -m experiments.{' '.join(command)}"
    status, out, err = commands.run(*command)
    assert status == 0, err
    assert "8 finished before, 0 to train" in out
    (claim,) = read_decided(together)
    assert claim["stated"]["finished"] == 0
    assert claim["pairs"] == 4


FAULT = """
import jax
from mnv2_jax.train.loop import Trainer

def fail(self, *arguments, run=Trainer.run):
    if self.program.spec.blocks[-1].expansion == 2:
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault of [this] cohort")
    return run(self, *arguments)

Trainer.run = fail
"""


def test_a_cohort_that_fails_does_not_stop_the_others(small_config, whole, tmp_path):
    faulty, workdir = tmp_path / "small.py", tmp_path / "work"
    faulty.write_text(CONFIG + FAULT)
    status, out, err = commands.run("ablate", f"--config={faulty}", f"--workdir={workdir}")
    assert status == 1, err
    assert "failed: INTERNAL: a fault of [this] cohort" in out
    assert "4 runs trained, 4 failed" in out
    errors = [(row["status"], row["expansion"], row["error"]) for row in rows_of(workdir)]
    assert (
        errors
        == [("done", "1", "")] * 4 + [("failed", "2", "INTERNAL: a fault of [this] cohort")] * 4
    )
    status, out, _ = commands.run("status", f"--workdir={workdir}")
    assert status == 0
    assert "4 failed: INTERNAL: a fault of [this] cohort" in out
    # Without the fault they are trained the next time.
    status, out, err = commands.run("ablate", f"--config={small_config}", f"--workdir={workdir}")
    assert status == 0, err
    assert "4 finished before, 4 to train" in out
    assert {row["status"] for row in rows_of(workdir)} == {"done"}
    assert curves_of(workdir) == curves_of(whole)


def test_a_part_and_the_whole_are_not_trained_at_once(small_config, machines):
    workdir = machines[1]
    arguments = (f"--config={small_config}", f"--workdir={workdir}")
    with atomic.claimed(workdir, "", "shard-1-of-2"):
        for more in ([], ["--shard=1/2"]):
            status, _, err = commands.run("ablate", *arguments, *more)
            assert status == 2
            assert f"process {os.getpid()} on " in err
        status, out, err = commands.run("ablate", *arguments, "--shard=2/2")
    assert status == 0, err
    assert "Runs: 3, cohorts: 1; 3 finished before, 0 to train" in out
    assert "report.html, of 3 of 8 runs" in out


def test_a_dry_run_prints_the_plan_and_writes_nothing(small_config, whole, tmp_path):
    workdir = tmp_path / "none"
    arguments = (f"--config={small_config}", f"--workdir={workdir}", "--dry_run")
    status, out, err = commands.run("ablate", *arguments)
    assert status == 0, err
    assert "Runs: 8, cohorts: 2; nothing is trained" in out
    assert "\nAxes: model.expansion 1, 2; model.projection linear, relu6; seed 0, 1\n" in out
    assert "\nClaims: linear_bottleneck\n" in out
    lines = out.splitlines()
    assert lines[0].startswith("Each cohort: block inverted_residual, lanes 4, steps ")
    line = next(line for line in lines[1:] if "expansion 2" in line).split()
    rows = [row for row in rows_of(whole) if row["expansion"] == "2"]
    # Expansion 2, parameters, multiply-adds, and the time, if it differs.
    assert line[2:4] == [f"{int(rows[0]['params']):,}", f"{int(rows[0]['madds']):,}"]
    # It was trained before, here: by the fixture.
    (told,) = (line for line in lines if line.startswith("Time: "))
    assert re.match(r"Time: \d+( to \d+)? (s|min) on cpu x 2; planning \d+ s, 2 compilations", told)
    assert "not known" not in told
    assert not workdir.exists()
    status, out, _ = commands.run("ablate", *arguments, "--shard=40/40")
    assert (status, "--shard=40/40: it has no run; others have all 8" in out) == (0, True)
    _, out, _ = commands.run("ablate", *arguments, "--config.model.projection=relu6")
    assert "claim 'linear_bottleneck' cannot be decided: no run has projection linear" in out
    status, out, _ = commands.run("ablate", *arguments, "--shard=1/2")
    assert status == 0
    # The second cohort costs more: its first runs make up for that.
    assert "Runs: 5, cohorts: 2" in out


@pytest.mark.parametrize(
    ("experiment", "arguments", "message"),
    [
        ("ablate", ["--config=configs/digits.py", "--shard=9/8"], "--shard=9/8: expected I/N with"),
        (
            "ablate",
            ["--config=configs/digits.py", "--shard=1/2", "--launcher=ray"],
            "--shard: it goes with --launcher=local alone",
        ),
        ("status", [], "--workdir: expected the folder of an experiment"),
        ("status", ["--workdir=configs"], "--workdir=configs: there is no plan.json"),
        ("merge", ["configs"], "--workdir: expected the folder to copy records into"),
        ("merge", ["--workdir=/tmp/x"], "FOLDER: it is missing; expected one"),
        ("merge", ["--workdir=/tmp/x", "none"], "none: it has no folder runs/"),
    ],
)
def test_wrong_input_gives_one_line_and_status_2(experiment, arguments, message):
    status, out, err = commands.run(experiment, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m experiments.{experiment}: {message}"), err
    assert len(err.splitlines()) == 1, err


def test_merging_folders_that_contradict_one_another_copies_nothing(whole, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    result = next(other.glob("runs/*/result.json"))
    checksums.write_json(result, {**checksums.read_json(result), "test_accuracy": 0.5})
    status, _, err = commands.run("merge", f"--workdir={tmp_path / 'all'}", whole, other)
    assert status == 2
    assert f"run {result.parent.name}: its test_accuracy is 0.5, but" in err
    assert not (tmp_path / "all" / "runs").exists()
