"""Fixtures that spare compilation and drawing where tests train in their own process."""

import pytest

from mnv2_jax.ablation import chunks
from mnv2_jax.analysis import report


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
