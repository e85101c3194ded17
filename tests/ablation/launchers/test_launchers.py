"""Launchers of users, and jobs that are sent to another process."""

import dataclasses
import json
import pickle
from pathlib import Path

import pytest

from mnv2_jax import config_file
from mnv2_jax.ablation import cohort, grid, launchers, sweep
from mnv2_jax.ablation.job import DataOptions, Job
from mnv2_jax.ablation.launchers import Launcher, Local, Ray, local, shards
from tests import buckets, commands
from tests.small import curves_of

OWN = """
import pickle, subprocess, sys
from mnv2_jax.ablation.launchers import Launcher
from mnv2_jax.ablation.sweep import Outcome

TRAIN = (
    "import pickle, sys; from mnv2_jax.ablation.launchers import local; "
    "outcome = local.train_for_another(pickle.load(sys.stdin.buffer)); print(outcome.trained)"
)

class Elsewhere(Launcher):
    def launch(self, job, watch):
        done = subprocess.run([sys.executable, "-c", TRAIN], input=pickle.dumps(job), check=True,
                              stdout=subprocess.PIPE)
        watch.recorded()
        watch.say(f"{job.cohorts[0]}: done elsewhere")
        return Outcome(int(done.stdout), 0)

def nothing(job, watch):
    watch.say(f"{len(job.cohorts)} cohorts are left alone")
    return Outcome(0, 0)
"""
"""A launcher that trains in a process of its own, and one that does not train."""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "launch.py"
    path.write_text(OWN)
    return path


@pytest.fixture
def job(small_config):
    config = config_file.config(str(small_config))
    grid_of = config_file.load(small_config).get_grid()
    cohorts = cohort.plan(grid.expand(config, grid_of))
    saving = sweep.Saving(seconds=7.0, networks=True)
    whole = Job(
        "runs/x", (), "a command", DataOptions(workers=0), saving, files=(str(small_config),)
    )
    return whole.with_cohorts(cohorts)


def told(cohorts):
    """What tells cohorts apart, and their runs."""
    return [
        (one.id, str(one), [run.id for run in one.runs], [run.id for run in one.finished])
        for one in cohorts
    ]


def describe(pickled, path):
    """Runs in a process that has not executed the config file yet."""
    job = pickle.loads(pickled)
    path.write_text(repr((job.saving.seconds, job.command, job.id, told(job.cohorts))))


def test_a_job_is_the_same_in_another_process(job, tmp_path):
    first, second = job.cohorts
    cut = job.with_cohorts([shards.pieces(first, 2)[1], shards.piece(second, second.runs[:1])])
    arguments = (pickle.dumps(cut), tmp_path / "seen")
    process = commands.forks().Process(target=describe, args=arguments)
    process.start()
    process.join(commands.SECONDS)
    assert process.exitcode == 0
    assert (tmp_path / "seen").read_text() == repr((7.0, "a command", cut.id, told(cut.cohorts)))


def test_a_pickled_job_holds_configs_and_no_data_set(job):
    assert len(pickle.dumps(job)) < 50_000
    again = pickle.loads(pickle.dumps(job))
    assert "cohorts" not in vars(again)
    assert again == job
    assert told(again.cohorts) == told(job.cohorts)


def test_another_process_asks_for_the_records_of_its_runs_and_of_what_they_start_from(
    job, monkeypatch
):
    (part, *_), run = job.cohorts, job.cohorts[0].runs[0]
    config = run.config.copy_and_resolve_references().unlock()
    config.transfer = {"start": "base"}
    after = dataclasses.replace(part, runs=(dataclasses.replace(run, config=config),))

    def claimed(where, part, runs):
        raise ValueError(" ".join([where, *runs]))

    monkeypatch.setattr(local.setup, "begin", lambda folder: None)
    monkeypatch.setattr(local.workdir, "claimed", claimed)
    with pytest.raises(ValueError, match=f"^runs/x {run.id} base$"):
        local.train_for_another(job.with_cohorts([after]))


@pytest.mark.slow
@buckets.needed
def test_a_users_launcher_trains_in_another_process_and_a_bucket(
    longer_config, longer, own, server, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(buckets.cache_without_mirrors(tmp_path / "cache")))
    where = "s3://bucket/launched"
    status, out, err = commands.run(
        *("ablate", f"--config={longer_config}", "--config.model.expansion=1"),
        *(f"--workdir={where}", f"--launcher={own}:Elsewhere"),
    )
    assert status == 0, err
    assert "inverted_residual: done elsewhere" in out
    assert "2 runs trained, 0 failed" in out
    there = buckets.Folder(where)
    assert len(there.read("results.csv").splitlines()) == 1 + 2
    assert len(there.curves()) == 2
    assert there.curves().items() <= curves_of(longer).items()
    # The plan's command says how to get all of it again.
    assert "--launcher" not in json.loads(there.read("plan.json"))["command"]


def test_launchers_are_found_by_name_file_class_function_and_instance(own):
    assert isinstance(launchers.find("local"), Local)
    assert isinstance(launchers.find("ray"), Ray)
    assert isinstance(launchers.find(f"{own}:Elsewhere"), Launcher)
    assert launchers.find(f"{own}:nothing").part == "launcher"
    shard = shards.Shard(1, 2)
    assert launchers.find(shard) is shard
    assert isinstance(launchers.find(Local), Local)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("slurm", "launcher='slurm': expected FILE.py:NAME or one of local, ray"),
        ("{}:Nobody", "launcher='{}:Nobody': the file has no such Nobody; expected Elsewhere"),
        (3, "launcher=3: expected one of local, ray, FILE.py:NAME, a Launcher, or a function"),
    ],
)
def test_what_is_no_launcher_is_refused(own, wrong, message):
    value = wrong.format(own) if isinstance(wrong, str) else wrong
    with pytest.raises(ValueError, match="launcher=") as error:
        launchers.find(value)
    assert str(error.value).startswith(message.format(own))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_corrupt": "ignore"}, "on_corrupt='ignore': expected one of fail, skip"),
        ({"workers": -1}, "data_workers=-1: expected a whole number, 0 or more"),
    ],
)
def test_wrong_options_of_data_are_refused(options, message):
    with pytest.raises(ValueError, match="expected") as error:
        DataOptions(**options)
    assert str(error.value) == message


def test_a_missing_folder_of_data_is_refused(tmp_path):
    options = DataOptions(str(Path(tmp_path) / "none"))
    selection = cohort.Selection("flowers", "train", "validation", "test", 8, 1.0)
    with pytest.raises(ValueError, match=r"^data_dir=.*: no such folder; expected that of"):
        options.open(selection)
