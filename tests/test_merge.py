"""Merging from the command line: what it prints."""

import json

import pytest

from tests import commands


@pytest.fixture
def folder(tmp_path):
    """Makes the folder of an experiment, of one run or without any."""

    def folder(name, command, runs=("r1", "r2"), done=None):
        path = tmp_path / name
        (path / "runs").mkdir(parents=True)
        if done:
            record = path / "runs" / done
            record.mkdir()
            for file in ("config.json", "environment.json", "metrics.jsonl"):
                (record / file).write_text("{}\n")
            (record / "result.json").write_text(json.dumps({"run_id": done, "status": "done"}))
        if command:
            cohorts = [{"label": "all", "runs": runs}]
            plan = {"name": "digits", "command": command, "cohorts": cohorts}
            (path / "plan.json").write_text(json.dumps(plan))
        return path

    return folder


ABLATE = "python -m experiments.ablate --config=configs/digits.py"


def test_the_next_command_and_the_state_of_the_whole_experiment(folder, tmp_path):
    flags = "--config.train.epochs=3 --data_dir='my data'"
    a = folder("a", f"{ABLATE} --workdir=x --shard=1/2 {flags}", done="r1")
    b = folder("b", f"{ABLATE} {flags} --launcher=ray --ray_address auto --workdir y", done="r2")
    c = folder("c", "")
    target = tmp_path / "all"
    status, out, err = commands.run("merge", f"--workdir={target}", a, b, c)
    assert (status, err) == (0, "")
    first, last = out.splitlines()
    assert first == f"{target}: 2 runs copied, 0 there before or in several folders"
    kept = "--config.train.epochs=3 '--data_dir=my data'"
    assert last == f"Next: {ABLATE} {kept} --workdir={target}"
    status, out, _ = commands.run("status", f"--workdir={target}", "--format=json")
    assert status == 0
    assert json.loads(out)["all"]["done"] == 2
    assert f"Next: {json.loads(out)['command']}" == last


def test_folders_of_different_experiments_are_named(folder, tmp_path):
    a = folder("a", f"{ABLATE} --workdir=x", done="r1")
    b = folder("b", f"{ABLATE} --config.seed=7", runs=("r3",), done="r3")
    target = tmp_path / "all"
    status, out, err = commands.run("merge", f"--workdir={target}", a, b)
    assert (status, err) == (0, "")
    assert out.splitlines()[1:] == [
        f"The folders are of different experiments: digits --config=configs/digits.py in {a}; "
        f"digits --config=configs/digits.py --config.seed=7 in {b}",
        f"Next: the experiment's command with --workdir={target}",
    ]
    assert not (target / "plan.json").exists()


def test_an_experiment_from_python_goes_on_in_python(folder, tmp_path):
    call = 'mnv2_jax.api: Experiment.from_file("configs/digits.py", {"seed": 7}).run(seeds=[1, 2])'
    a = folder("a", call, done="r1")
    b = folder("b", call, done="r2")
    target = tmp_path / "all"
    status, out, err = commands.run("merge", f"--workdir={target}", a, b)
    assert (status, err) == (0, "")
    last = out.splitlines()[-1]
    assert last == f'Next: {call} with workdir="{target}"'
    status, out, _ = commands.run("status", f"--workdir={target}", "--format=json")
    assert (status, json.loads(out)["all"]["done"]) == (0, 2)
