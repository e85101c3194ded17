"""Estimates of time: from what was measured, for the same programs and for similar ones."""

import dataclasses
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from mnv2_jax.ablation import cohort, estimates, records
from mnv2_jax.train.compilation import Compilation
from tests import victim

COMPILED = Compilation(seconds=30.0, compiler=20.0, entries=("one-cache", "two-cache"))


@pytest.fixture
def planned(dots, tiny):
    (only,) = cohort.plan(victim.configs(epochs=2), lambda _: dots)
    return only


@pytest.fixture
def kept(monkeypatch):
    """Names in the cache of compiled programs."""
    names: set[str] = set()
    monkeypatch.setattr(estimates.compilation, "are_kept", lambda wanted: set(wanted) <= names)
    return names


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Every run took two seconds.
    row = {"seconds": 2.0, "device": estimates.here()}
    monkeypatch.setattr(records, "read", lambda workdir, run_id: row)
    return tmp_path


def note(of, compilation=COMPILED, first_images=1.0):
    measured = estimates.Measured(len(of.runs), compilation, first_images)
    estimates.note(Path("anywhere"), [of], {of.id: measured})


def other(of, madds=1, **changes):
    """A cohort of the same preset that costs more."""
    cost = dataclasses.replace(of.cost, layers=of.cost.layers * madds)
    return dataclasses.replace(of, id="other", cost=cost, **changes)


def test_nothing_is_known_of_a_machine_that_measured_nothing(planned, kept):
    found = estimates.estimate([planned], planning=3.0)
    assert (found.low, found.high, found.compilation, found.training) == (None,) * 4
    assert estimates.seconds(planned) is estimates.compiling(planned) is None


def test_the_same_cohort_takes_what_it_took(planned, kept):
    note(planned)
    count = len(planned.runs)
    assert estimates.seconds(planned) == pytest.approx(2.0 * count)
    assert estimates.compiling(planned) == pytest.approx(30.0)
    estimates.note_report(4.0)
    found = estimates.estimate([planned], planning=3.0)
    assert found.compilation == pytest.approx(30.0)
    assert found.training == pytest.approx(2.0 * count)
    assert (found.cached, found.images, found.report) == (0, 1.0, 4.0)
    middle = 3.0 + 30.0 + 2.0 * count + 1.0 + 4.0
    assert found.low == pytest.approx(middle / 1.3)
    assert found.high == pytest.approx(middle * 1.3)


def test_programs_that_the_cache_has_are_not_compiled_again(planned, kept):
    note(planned)
    kept |= {"one-cache"}  # The other one is gone.
    assert estimates.compiling(planned) == pytest.approx(30.0)
    kept |= {"two-cache"}
    assert estimates.compiling(planned) == pytest.approx(10.0)
    assert estimates.estimate([planned]).cached == 1
    # Other programs, of fewer lanes.
    assert estimates.compiling(dataclasses.replace(planned, runs=planned.runs[:1])) == 30.0
    # What the compiler took is not forgotten when it is read from the cache.
    note(planned, Compilation(seconds=8.0))
    assert estimates.compiling(planned) == pytest.approx(8.0)
    kept.clear()
    assert estimates.compiling(planned) == pytest.approx(28.0)


def test_another_network_is_estimated_by_the_nearest_with_less_certainty(planned, kept):
    note(planned)
    larger = other(planned, madds=3)
    assert estimates.compiling(larger) == pytest.approx(90.0)  # By its layers.
    training = 3 * 2.0 * len(planned.runs)
    assert estimates.seconds(larger) == pytest.approx(training)
    found = estimates.estimate([larger])
    both = 90.0 + training
    assert found.low == pytest.approx(1.0 / 1.3 + both / 2)
    assert found.high == pytest.approx(1.0 * 1.3 + both * 2)
    elsewhere = dataclasses.replace(planned.dataset, name="photos/")
    assert estimates.estimate([other(planned, dataset=elsewhere)]).images is None


def test_other_devices_and_damaged_files_know_nothing(planned, kept, folder, monkeypatch):
    note(planned)
    path = folder / "mnv2_jax" / "times.json"
    monkeypatch.setattr(estimates, "here", lambda: "cpu x 64")
    assert estimates.seconds(planned) is None
    monkeypatch.undo()
    path.write_text(path.read_text().replace("speed", "spied"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    assert estimates.seconds(planned) is None


seconds = strategies.floats(0, 1e4)


@hypothesis.given(strategies.lists(strategies.tuples(seconds, seconds)))
def test_side_by_side_is_between_the_slower_of_both_and_their_sum(pairs):
    compilations, trainings = ([pair[part] for pair in pairs] for part in (0, 1))
    found = estimates.side_by_side(compilations, trainings)
    slower = max(sum(compilations), sum(trainings))
    assert slower * (1 - 1e-9) <= found <= sum(map(sum, pairs)) * (1 + 1e-9) + 1e-9
    if len(pairs) == 1:
        assert found == pytest.approx(sum(pairs[0]))
