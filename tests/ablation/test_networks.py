"""Networks that runs have left, by the paths that users give."""

import json

import pytest

from mnv2_jax.ablation import networks
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
