"""Experiments whose workdir is in a bucket, end to end, against a server on this machine."""

import json
import shutil
import signal
import time

import pytest

from tests import buckets, commands
from tests.small import curves_of, rows_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("server"), buckets.needed]

RUNS = 4  # Of two cohorts, which are two shards: the same lanes, and so the same bits.


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Turns this machine into another one, that knows of no bucket."""

    def turn(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(buckets.cache_without_mirrors(tmp_path / name)))
        return tmp_path / name / "mnv2_jax" / "mirrors"

    return turn


def state(where):
    status, out, err = commands.run("status", f"--workdir={where}", "--format=json")
    assert status == 0, err
    return json.loads(out)


def test_killed_it_goes_on_and_ends_with_the_bits_of_a_local_folder(
    longer, longer_config, machine, tmp_path
):
    where, mirrors = "s3://bucket/killed", machine("killed")
    # The first cohort is finished.
    shutil.copytree(longer, tmp_path / "first")
    for row in rows_of(longer):
        if row["expansion"] == "2":
            shutil.rmtree(tmp_path / "first" / "runs" / row["run_id"])
    status, _, err = commands.run("merge", f"--workdir={where}", tmp_path / "first")
    assert status == 0, err
    training = (f"--config={longer_config}", f"--workdir={where}", "--checkpoint_seconds=0")
    process = commands.begin(tmp_path / "out", tmp_path / "err", "ablate", *training)
    while process.is_alive() and not [*mirrors.glob("*/checkpoints/*/steps/[1-9]*")]:
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert state(where)["all"]["done"] == RUNS // 2
    status, out, err = commands.run("ablate", f"--config={longer_config}", f"--workdir={where}")
    assert status == 0, err
    assert f"{RUNS // 2} finished before, {RUNS // 2} to train" in out
    assert f"Report: {where}/report.html" in out
    assert buckets.Folder(where).curves() == curves_of(longer)
    assert state(where)["training"] == []
    status, out, err = commands.run("verdicts", f"--workdir={where}", "--format=json")
    assert status == 0, err
    assert json.loads(out)[0]["pairs"] == RUNS // 2


def test_shards_of_two_machines_train_the_whole(longer, longer_config, machine):
    where = "s3://bucket/shards"

    def shards():
        for number in (1, 2):
            machine(f"machine_{number}")
            shard = (f"--workdir={where}", f"--shard={number}/2")
            yield "ablate", f"--config={longer_config}", *shard

    for status, out, err in commands.run_side_by_side(shards()):
        assert status == 0, err
        assert f"{RUNS // 2} runs trained, 0 failed" in out
    assert buckets.Folder(where).curves() == curves_of(longer)
    # Whichever published last had seen all.
    machine("third")
    status, out, err = commands.run("plot", f"--workdir={where}", "--x=expansion")
    assert status == 0, err
    assert out.splitlines() == [f"{where}/figures/expansion.{suffix}" for suffix in ("svg", "png")]
    there = buckets.Folder(where)
    rows = there.read("results.csv").decode().splitlines()
    assert len(rows) == 1 + RUNS
    assert b"<svg" in there.read("figures/expansion.svg")
    assert f"{RUNS} runs" in there.read("report.html").decode()
    status, out, err = commands.run("evaluate", f"--workdir={where}")
    assert status == 0, err
    # And a bucket may be what is merged into.
    status, out, err = commands.run("merge", "--workdir=s3://bucket/all", where, longer)
    assert status == 0, err
    told, following = out.splitlines()
    assert told == f"s3://bucket/all: {RUNS} runs copied, {RUNS} there before or in several folders"
    assert following.endswith(" --workdir=s3://bucket/all")
    merged = buckets.Folder("s3://bucket/all")
    assert merged.curves() == curves_of(longer)
    assert merged.read("evaluations/test.csv") == there.read("evaluations/test.csv") != b""


NOWHERE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}


@pytest.mark.parametrize(
    ("where", "environment", "message"),
    [
        ("s3://nobody/work", {}, "The specified bucket does not exist"),
        ("s3://bucket/work", {"AWS_ACCESS_KEY_ID": ""}, "Unable to locate credentials"),
        ("s3://bucket/work", NOWHERE, "Could not connect to"),
    ],
)
def test_an_unreachable_bucket_is_refused_before_anything_trains(
    longer_config, where, environment, message, monkeypatch, machine
):
    mirrors = machine("nothing")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status, out, err = commands.run("ablate", f"--config={longer_config}", f"--workdir={where}")
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m experiments.ablate: --workdir={where}: ")
    assert message in err
    assert len(err.splitlines()) == 1, err
    assert not [*mirrors.glob("*/[!.]*")]


@pytest.mark.parametrize(
    ("experiment", "arguments", "message"),
    [
        (
            "status",
            ["--workdir=s3://nobody/x"],
            "--workdir=s3://nobody/x: it cannot be read (The sp",
        ),
        ("status", ["--workdir=s3://bucket/x"], "--workdir=s3://bucket/x: there is no plan.json"),
        ("plot", ["--workdir=s3://bucket/x"], "--workdir=s3://bucket/x: it holds no results.csv"),
        ("merge", ["--workdir=WORK", "s3://bucket/x"], "s3://bucket/x: it has no folder runs/"),
    ],
)
def test_a_bucket_without_an_experiment_is_refused(experiment, arguments, message, tmp_path):
    arguments = [text.replace("WORK", str(tmp_path / "work")) for text in arguments]
    status, out, err = commands.run(experiment, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m experiments.{experiment}: {message}"), err
    assert len(err.splitlines()) == 1, err
