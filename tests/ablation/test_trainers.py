"""Trainers that are kept between rounds, with stand-ins for those that compile."""

from types import SimpleNamespace
from typing import Any

import jax
import pytest

from mnv2_jax.ablation import chunks
from mnv2_jax.ablation.trainers import Trainers
from mnv2_jax.train.resident import Resident


def cohort(name, runs, finished=0, whole=""):
    """What trainers ask of a cohort."""
    values = SimpleNamespace(data_seed=0)
    run = SimpleNamespace(values=values)
    made: Any = SimpleNamespace(
        id=name,
        whole=whole,
        runs=(run,) * runs,
        finished=(run,) * finished,
        feed=lambda: (Resident, ""),
    )
    return made


@pytest.fixture
def compiled(monkeypatch):
    """The numbers of lanes that were compiled; memory holds 10."""
    counts = []

    def trainer_of(cohort, lanes, workers, tell, earlier):
        counts.append(lanes)
        tell("a choice")
        return SimpleNamespace(layout=SimpleNamespace(count=min(lanes, 10)))

    monkeypatch.setattr(chunks, "trainer_of", trainer_of)
    return counts


def count_of(one):
    return one.trainer.layout.count


def test_rounds_on_cpu_share_the_trainer_of_the_first(compiled):
    trainers = Trainers([cohort("a", 8)])
    for runs, lanes in ((8, 8), (3, 8), (1, 8), (9, 9)):
        assert count_of(trainers.of(cohort("a", runs), 0)) == lanes
    assert compiled == [8, 9]


def test_rounds_share_trainers_of_the_first_size_its_half_and_so_on(compiled, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    trainers = Trainers([cohort("a", 8), cohort("b", 3)])
    for runs, lanes in ((8, 8), (5, 8), (4, 4), (3, 4), (2, 2), (1, 1), (8, 8)):
        assert count_of(trainers.of(cohort("a", runs), 0)) == lanes
        assert count_of(trainers.of(cohort("piece", runs, whole="a"), 0)) == lanes
    assert compiled == [8, 4, 2, 1]
    assert count_of(trainers.of(cohort("b", 2), 0)) == 2
    assert trainers.of(cohort("b", 3), 0).notes == ["a choice"]


def test_the_number_depends_on_the_round_not_on_what_is_left_of_it(compiled):
    for runs, finished in ((5, 0), (1, 4)):
        assert count_of(Trainers([cohort("a", 8)]).of(cohort("a", runs, finished), 0)) == 8
    assert count_of(Trainers([cohort("a", 8)]).of(cohort("a", 5), 0, lanes=3)) == 3


def test_what_memory_does_not_hold_is_not_tried_again(compiled):
    trainers = Trainers([cohort("a", 20)])
    for _ in range(2):
        assert count_of(trainers.of(cohort("a", 20), 0)) == 10
    assert count_of(trainers.with_fewer(cohort("a", 20), 6, 0)) == 6
    assert count_of(trainers.of(cohort("a", 20), 0)) == 6
    assert compiled == [20, 6]


def test_without_rounds_none_is_kept(compiled):
    once = Trainers()
    for _ in range(2):
        assert count_of(once.of(cohort("a", 8), 0)) == 8
    assert count_of(once.of(cohort("a", 3, finished=5), 0)) == 3
    assert count_of(once.with_fewer(cohort("a", 8), 4, 0)) == 4
    assert compiled == [8, 8, 3, 4]
