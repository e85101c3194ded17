"""What a sweep says while it works: how fast, and how long still."""

import io
import types
from typing import Any

import pytest
from rich.console import Console

from experiments import progress


class Fake(types.SimpleNamespace):
    """What progress asks of a cohort."""

    def __str__(self) -> str:
        return "fake"


def cohort(work: float) -> Any:
    """A cohort of 10 lanes, 4 epochs of 100 images each."""
    recipe = Fake(epochs=4, batch_size=50)
    return Fake(work=work, runs=range(10), program=Fake(steps_per_epoch=2, recipe=recipe))


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now.seconds)
    return now


def test_speed_leaves_compilation_out_and_the_time_left_counts_it(clock):
    text = io.StringIO()
    console = Console(file=text, width=200)
    first, second = cohort(work=40), cohort(work=80)
    with progress.show_progress(console, [first, second]) as shown:
        shown.cohort_started(1, 2, first)
        clock.seconds += 30
        shown.cohort_compiled(first)
        for epoch in (1, 2, 3, 4):
            clock.seconds += 10
            shown.epoch_ended(first, epoch)
        shown.cohort_started(2, 2, second)
        shown.cohort_compiled(second)
        clock.seconds += 20
        shown.epoch_ended(second, 1)
    lines = text.getvalue().splitlines()
    assert lines[0] == "cohort 1 of 2 (fake), 10 lanes: compiling"
    # 1,000 images in 10 s; 110 of 120 units of work at 1 a second, and 30 s of compilation.
    assert lines[1].endswith("epoch 1 of 4, 100 images/s in all, about 2 min left")
    assert lines[4].endswith("epoch 4 of 4, 100 images/s in all, about 110 s left")
    assert lines[6].endswith("epoch 1 of 4, 50 images/s in all, about 60 s left")


def test_a_failed_cohort_is_said_and_its_work_is_not_waited_for(clock):
    text = io.StringIO()
    console = Console(file=text, width=200)
    first, second = cohort(work=4_000), cohort(work=80)
    with progress.show_progress(console, [first, second]) as shown:
        shown.cohort_started(1, 2, first)
        shown.cohort_compiled(first)
        clock.seconds += 1_000
        shown.epoch_ended(first, 1)
        shown.cohort_failed(first, "out of [memory]")
        shown.cohort_started(2, 2, second)
        clock.seconds += 10
        shown.cohort_compiled(second)
        clock.seconds += 20
        shown.epoch_ended(second, 1)
    lines = text.getvalue().splitlines()
    assert lines[2] == "cohort 1 of 2 (fake), 10 lanes: failed: out of [memory]"
    assert lines[-1].endswith("about 60 s left")


def test_a_terminal_gets_a_bar(clock):
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True)
    only = cohort(work=40)
    with progress.show_progress(console, [only]) as shown:
        shown.cohort_started(1, 1, only)
        shown.cohort_compiled(only)
        clock.seconds += 10
        shown.epoch_ended(only, 1)
    assert "cohort 1 of 1 (fake), 10 lanes" in text.getvalue()
    assert "epoch 1 of 4, 100 images/s in all, about 30 s left" in text.getvalue()
