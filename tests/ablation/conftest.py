"""Networks of random weights; and what spares compilation and drawing where tests train."""

import json

import pytest

from mnv2_jax import presets
from mnv2_jax.ablation import chunks
from mnv2_jax.analysis import report
from mnv2_jax.nn import trained
from tests.ablation.bases import random_network


@pytest.fixture
def compiled_once(monkeypatch):
    """Sweeps share the trainers of equal cohorts, which take seconds to compile."""
    trainer_of, trainers = chunks.trainer_of, {}

    def shared(cohort, lanes, *others):
        key = cohort.id, lanes
        if key not in trainers:
            trainers[key] = trainer_of(cohort, lanes, *others)
        return trainers[key]

    monkeypatch.setattr(chunks, "trainer_of", shared)


@pytest.fixture(scope="module")
def without_charts():
    """Reports have no figures, which take seconds to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "make_charts", lambda *arguments: {})
        yield


@pytest.fixture(scope="module")
def spec(tiny):
    return presets.build(tiny, expansion=2, conventions="torchvision")


@pytest.fixture
def ours(spec, tmp_path):
    """The file of a network of ours, in the folder of a run."""
    path = tmp_path / "work" / "runs" / "0123456789ab" / trained.FILE
    trained.save(path, random_network(spec))
    row = {"status": "done", "validation_accuracy": 0.5}
    (path.parent / "result.json").write_text(json.dumps(row))
    (path.parent / "config.json").write_text("{}")
    return path
