"""Rounds of seeds, with records that are written instead of trained."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from ml_collections import ConfigDict

from mnv2_jax.ablation import records
from mnv2_jax.ablation.grid import auto, axis, product
from mnv2_jax.ablation.workdir import Workdir
from mnv2_jax.analysis.claims import greater
from mnv2_jax.api.planning import Design, Planned
from mnv2_jax.api.rounds import rounds
from tests import victim

RATES = (0.25, 0.5, 0.75)
PLAN = auto(minimum=4, step=2, budget=9)
CLEAR = greater("clear", "-", "0.5 beats 0.25", "train.learning_rate", 0.5, 0.25)
UNCLEAR = greater("unclear", "-", "0.75 beats 0.5", "train.learning_rate", 0.75, 0.5)
ALL = {rate: range(4) for rate in RATES}


@pytest.fixture
def plan(dots, tiny):
    """Plans three learning rates x seeds that stop by themselves."""

    def planned(*claims, seeds=PLAN, **fields):
        (config, *_) = victim.configs(epochs=2)
        grid = product(axis("train.learning_rate", RATES), axis("seed", seeds))
        return Design("d", config, grid, claims, **fields).plan(lambda _: dots)

    return planned


def accuracy(config):
    """0.5 is better than 0.25 with every seed, 0.75 than 0.5 with every other one."""
    noise = 0.01 * (-1) ** config.seed
    return {0.25: 0.5 + noise, 0.5: 0.7, 0.75: 0.7 + noise}[config.train.learning_rate]


def record(workdir, cohort, runs):
    for run in runs:
        row = {
            **records.describe(run, cohort),
            **{"status": "done", "lanes": 1, "device": "cpu", "seconds": 1.0, "test_loss": 0.5},
            **dict.fromkeys(
                ("train_accuracy", "validation_accuracy", "test_accuracy"), accuracy(run.config)
            ),
        }
        records.write(workdir, run, row, [], {"libraries": {"jax": jax.__version__}})


def seeds_of(cohorts):
    """Return the seeds of the runs of cohorts, by rate."""
    found: dict[float, list[int]] = {}
    for part in cohorts:
        for run in part.runs:
            found.setdefault(run.config.train.learning_rate, []).append(run.config.seed)
    return found


def trained(planned, folder, said, only=lambda run: True):
    """Return the seeds of each round, whose runs get records."""
    found = []
    for part in rounds(planned, Workdir(folder), said.append):
        found.append(seeds_of(part.cohorts))
        for one in part.cohorts:
            record(folder, one, filter(only, one.runs))
    return found


def both(*seeds):
    return {0.5: list(seeds), 0.75: list(seeds)}


def test_seeds_are_added_to_the_runs_of_undecided_claims_alone(plan, tmp_path):
    said: list[str] = []
    wanted = [
        *(dict.fromkeys(RATES, seeds) for seeds in ([0, 1], [2, 3])),
        *(both(4, 5), both(6, 7), both(8)),
    ]
    planned = plan(CLEAR, UNCLEAR)
    assert trained(planned, tmp_path, said) == wanted
    decided = "decided: clear supported (4 seeds); undecided: unclear"
    assert said == [
        f"After 4 seeds: {decided}; next: 4 runs, up to 6 seeds",
        f"After 6 seeds: {decided}; next: 4 runs, up to 8 seeds",
        f"After 8 seeds: {decided}; next: 2 runs, up to 9 seeds",
        f"After 9 seeds: {decided}; the budget is spent",
    ]
    assert planned.remarks == (
        "Seeds: 4 at first, then 2 at a time until every claim is decided, 9 at most: "
        "12 to 27 runs",
    )
    # Whoever comes again sees the same rounds, and runs that were added by hand change nothing.
    for one in planned.cohorts:
        record(tmp_path, one, one.runs)
    again: list[str] = []
    assert trained(planned, tmp_path, again) == wanted
    assert again == said[-1:]


def test_they_stop_when_every_claim_is_decided(plan, tmp_path):
    said: list[str] = []
    assert len(trained(plan(CLEAR), tmp_path, said)) == 2
    assert said == ["After 4 seeds: decided: clear supported (4 seeds); undecided: none"]


def test_without_claims_they_stop_at_the_minimum(plan, tmp_path):
    said: list[str] = []
    assert len(trained(plan(), tmp_path, said)) == 2
    assert said == ["After 4 seeds: decided: none; undecided: none"]


def test_a_claim_without_pairs_is_not_waited_for(plan, tmp_path):
    """Such as one on a side table, which is written later."""
    said: list[str] = []
    later = dataclasses.replace(UNCLEAR, metric="noise/test_accuracy")
    assert len(trained(plan(later), tmp_path, said)) == 2
    assert said == ["After 4 seeds: decided: none; undecided: unclear"]


def test_they_wait_for_runs_of_others(plan, tmp_path):
    planned = plan(CLEAR, UNCLEAR)
    said: list[str] = []
    mine = trained(planned, tmp_path, said, only=lambda run: run.config.seed != 3)
    assert len(mine) == 2  # Before the minimum nothing is decided, and nobody waits.
    assert said == [
        "Claims wait for 3 runs of the first 4 seeds, which failed or are trained by others; the "
        "same command goes on then"
    ]
    # Others see the same rounds and train the rest.
    assert trained(planned, tmp_path, said, only=lambda run: run.config.seed != 4)[:3] == [
        *(dict.fromkeys(RATES, seeds) for seeds in ([0, 1], [2, 3])),
        both(4, 5),
    ]
    assert said[-1].startswith("Claims wait for 2 runs of the first 6 seeds")


def test_fixed_seeds_are_one_round(plan, tmp_path):
    for fields, count in (({"seeds": range(3)}, 9), ({"pinned": {"seed"}}, 3)):
        planned = plan(CLEAR, **fields)
        (part,) = rounds(planned, Workdir(tmp_path), print)
        assert (part.planned, part.cohorts) == (planned, planned.cohorts)
        assert planned.certain.count == planned.count == count


def test_runs_come_with_those_that_they_start_from():
    def run(name, start):
        return SimpleNamespace(id=name, config=ConfigDict({"transfer": {"start": start}}))

    part: Any = SimpleNamespace(runs=[run("a", ""), run("b", "a"), run("c", "b"), run("d", "file")])
    planned = Planned("p", (part,), (), (), None)
    assert planned.with_starts({"c"}) == {"a", "b", "c"}
    assert planned.with_starts({"d"}) == {"d"}
