"""The state of an experiment, as other processes read it."""

import os
import socket
import subprocess
import sys
import time

import pytest

from configs import digits
from mnv2_jax import checksums
from mnv2_jax.ablation import cohort, grid, heartbeat, plans, records, status

GRID = grid.product(grid.axis("model.expansion", (1, 2)), grid.axis("seed", range(3)))


@pytest.fixture
def cohorts(dots):
    return cohort.plan(grid.expand(digits.get_config(), GRID), lambda _: dots)


@pytest.fixture
def workdir(cohorts, tmp_path):
    plans.write(tmp_path, "small", "python -m experiments.ablate", cohorts)
    return tmp_path


def finish(workdir, cohort, run, status="done", **measures):
    row = {**records.describe(run, cohort), "status": status, **measures}
    records.write(workdir, run, row, [], {})


def test_runs_are_waiting_running_failed_or_done(workdir, cohorts):
    first, second = cohorts
    finish(workdir, first, first.runs[0])
    finish(workdir, first, first.runs[1], "diverged")
    records.write_failure(workdir, first.runs[2], first, "out of [memory]")
    life = heartbeat.Heartbeat(workdir, second.id, str(second), [run.id for run in second.runs[:2]])
    life.beat(3, 8)
    found = status.read(workdir)
    assert found["name"] == "small"
    expected = {"done": 1, "diverged": 1, "running": 2, "failed": 1, "waiting": 1}
    assert found["all"] == expected
    assert found["cohorts"][1]["running"] == 2
    (training,) = found["training"]
    assert (training["step"], training["steps"], training["alive"]) == (3, 8, True)
    assert found["errors"] == [{"runs": 1, "error": "out of [memory]"}]
    life.end()
    assert status.read(workdir)["all"]["waiting"] == 3
    assert not list((workdir / "training").iterdir())


def test_test_metrics_are_means_over_the_runs_that_are_done(workdir, cohorts):
    first, second = cohorts
    for run, value in zip(first.runs, (0.9, 0.8, None), strict=True):
        finish(workdir, first, run, **{"test_accuracy": value, "test_loss": 0.5, "test_images": 9})
    finish(workdir, second, second.runs[0], "diverged", test_accuracy=0.1)
    means = [part["means"] for part in status.read(workdir)["cohorts"]]
    assert means == [{"test_accuracy": pytest.approx(0.85), "test_loss": 0.5}, {}]


def test_validation_metrics_take_the_place_of_those_of_unread_test_images(workdir, cohorts):
    first, _ = cohorts
    finish(workdir, first, first.runs[0], validation_accuracy=0.9, train_loss=0.1)
    assert status.read(workdir)["cohorts"][0]["means"] == {"validation_accuracy": 0.9}


def test_a_cohort_has_one_name(workdir, cohorts):
    second = cohorts[1]
    for label, runs in (("inverted_residual", [run.id for run in second.runs]), ("old", ["gone"])):
        heartbeat.Heartbeat(workdir, label, label, runs).beat(1, 8)
    found = status.read(workdir)
    names = {one["cohort"] for one in found["training"]}
    assert names == {found["cohorts"][1]["label"], "old"}
    assert str(second) != "inverted_residual"


def test_a_failure_is_forgotten_when_the_run_is_finished(workdir, cohorts):
    run = cohorts[0].runs[0]
    records.write_failure(workdir, run, cohorts[0], "a passing fault")
    (row,) = records.rows(workdir, cohorts)
    assert (row["status"], row["error"]) == ("failed", "a passing fault")
    finish(workdir, cohorts[0], run)
    (row,) = records.rows(workdir, cohorts)
    assert row["status"] == "done"
    assert status.read(workdir)["errors"] == []


def test_what_a_killed_process_left_is_not_running(workdir, cohorts):
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    beat(workdir, cohorts[0], pid=int(dead.stdout), host=socket.gethostname(), age=0)
    assert status.read(workdir)["all"]["running"] == 0
    assert not status.read(workdir)["training"][0]["alive"]
    # Its number has been given to another process since.
    beat(workdir, cohorts[0], pid=1, host=socket.gethostname(), age=-60)
    (training,) = status.read(workdir)["training"]
    assert (training["alive"], training["seconds_ago"]) == (False, 0)


@pytest.mark.parametrize(("age", "alive"), [(5, True), (600, False)])
def test_another_host_is_believed_for_a_while(workdir, cohorts, age, alive):
    beat(workdir, cohorts[0], pid=1, host="elsewhere", age=age)
    assert status.read(workdir)["training"][0]["alive"] is alive


def beat(workdir, cohort, *, pid, host, age):
    heartbeat.Heartbeat(workdir, cohort.id, str(cohort), [cohort.runs[0].id]).beat(1, 8)
    (path,) = (workdir / "training").iterdir()
    found = checksums.read_json(path)
    assert found["pid"] == os.getpid()
    changed = {"pid": pid, "host": host, "time": time.time() - age}
    checksums.write_json(path, {**found, **changed})


def test_a_folder_without_an_experiment_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no plan\.json"):
        status.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"name": "x", "command": "y", "cohorts": [1]}'])
def test_a_damaged_plan_is_named_with_what_to_do(text, tmp_path):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=r"/plan\.json: it is damaged; run the experiment's comm"):
        status.read(tmp_path)
