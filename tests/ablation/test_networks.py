"""Networks of runs are found by the paths that users give."""

import json

import pytest

from mnv2_jax.ablation import networks, plans
from mnv2_jax.nn import trained


def record(workdir, run, accuracy, phase="finetuning", network=True):
    folder = workdir / "runs" / run
    folder.mkdir(parents=True)
    row = {"run_id": run, "status": "done", "validation_accuracy": accuracy}
    (folder / "result.json").write_text(json.dumps(row))
    config = {"transfer": {"phase": phase}} if phase else {}
    (folder / "config.json").write_text(json.dumps(config))
    if network:
        (folder / trained.FILE).touch()
    return folder


def test_a_network_is_found_by_file_or_run(tmp_path):
    folder = record(tmp_path, "a", 0.5, phase="")
    file = folder / trained.FILE
    assert networks.find(file) == networks.find(folder) == networks.find(tmp_path) == file
    other = tmp_path / "weights.bin"
    other.touch()
    assert networks.find(other) == other


def test_of_an_experiment_the_best_is_found_by_validation_accuracy_bases_apart(tmp_path):
    record(tmp_path, "base", 0.99, phase="pretraining")
    record(tmp_path, "a", 0.5)
    best = record(tmp_path, "b", 0.75, phase="extraction")
    record(tmp_path, "c", None)
    record(tmp_path, "d", 0.9, network=False)
    record(tmp_path, ".e.tmp", 0.95)
    damaged = record(tmp_path, "f", 0.95)
    (damaged / "result.json").write_text("{")
    assert networks.best(tmp_path) == best
    assert networks.find(tmp_path) == best / trained.FILE


def test_runs_of_other_configs_in_the_folder_do_not_count(tmp_path):
    record(tmp_path, "of_before", 0.99)
    best = record(tmp_path, "a", 0.5)
    record(tmp_path, "b", 0.25)
    cohorts = [{"label": "one", "runs": ["a", "missing"]}, {"label": "two", "runs": ["b"]}]
    plans.keep(tmp_path, {"name": "x", "command": "x", "cohorts": cohorts})
    assert networks.find(tmp_path) == best / trained.FILE
    plans.keep(tmp_path, {"name": "x", "command": "x", "cohorts": []})
    assert networks.best(tmp_path) is None


def test_networks_of_runs_that_diverged_are_said_to_be_there(tmp_path):
    record(tmp_path, "a", None)
    record(tmp_path, "b", None)
    with pytest.raises(ValueError, match="none of 2 runs there has both a network"):
        networks.find(tmp_path)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("none", "none: no such file or folder; expected a network.safetensors, or the folder of"),
        ("empty", "empty: no runs are there; expected the folder of an experiment that keeps its"),
        ("without", "without: none of 2 runs there has a network.safetensors; expected the folder"),
        ("without/runs/a", "a: no runs are there; expected the folder of an experiment"),
    ],
)
def test_a_network_that_is_not_to_be_found(tmp_path, place, message):
    (tmp_path / "empty").mkdir()
    for run in ("a", "b"):
        record(tmp_path / "without", run, 0.5, network=False)
    with pytest.raises(ValueError, match=message):
        networks.find(tmp_path / place)
