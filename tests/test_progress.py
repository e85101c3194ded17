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
    program = Fake(steps=8, steps_per_epoch=2, recipe=recipe)
    return Fake(work=work, runs=range(10), program=program)


def begin(shown: progress.SweepProgress, of: Any) -> None:
    """The training of all lanes of a cohort."""
    shown.pack_started(of, 10)
    shown.trained(of, 10, 0)


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
        begin(shown, first)
        for epoch in (1, 2, 3, 4):
            clock.seconds += 10
            shown.trained(first, 10, 2 * epoch)
        shown.cohort_started(2, 2, second)
        begin(shown, second)
        clock.seconds += 20
        shown.trained(second, 10, 2)
    lines = text.getvalue().splitlines()
    assert lines[0] == "cohort 1 of 2 (fake), 10 lanes: compiling"
    # 1,000 images in 10 s; 110 of 120 units of work at 1 a second, and 30 s of compilation.
    assert lines[1].endswith("epoch 1 of 4, 100 images/s in all, about 2 min left")
    assert lines[4].endswith("epoch 4 of 4, 100 images/s in all, about 110 s left")
    assert lines[6].endswith("epoch 1 of 4, 50 images/s in all, about 60 s left")


def test_no_speed_is_told_by_the_first_slow_calls(clock):
    text = io.StringIO()
    only = cohort(work=40)
    with progress.show_progress(Console(file=text, width=200), [only]) as shown:
        shown.cohort_started(1, 1, only)
        clock.seconds += 10
        begin(shown, only)
        clock.seconds += 0.5
        shown.trained(only, 10, 1)
        clock.seconds += 9.5
        shown.trained(only, 10, 4)
    lines = text.getvalue().splitlines()
    assert lines[1].endswith(": epoch 1 of 4")
    assert lines[2].endswith("epoch 2 of 4, 200 images/s in all, about 10 s left")


def test_a_failed_cohort_is_said_and_its_work_is_not_waited_for(clock):
    text = io.StringIO()
    console = Console(file=text, width=200)
    first, second = cohort(work=4_000), cohort(work=80)
    with progress.show_progress(console, [first, second]) as shown:
        shown.cohort_started(1, 2, first)
        begin(shown, first)
        clock.seconds += 1_000
        shown.trained(first, 10, 2)
        shown.cohort_failed(first, "out of [memory]")
        shown.cohort_started(2, 2, second)
        clock.seconds += 10
        begin(shown, second)
        clock.seconds += 20
        shown.trained(second, 10, 2)
    lines = text.getvalue().splitlines()
    assert lines[2] == "cohort 1 of 2 (fake), 10 lanes: failed: out of [memory]"
    assert lines[-1].endswith("about 60 s left")


def test_packs_and_what_a_checkpoint_held(clock):
    text = io.StringIO()
    console = Console(file=text, width=200)
    only = cohort(work=80)
    with progress.show_progress(console, [only]) as shown:
        shown.cohort_started(1, 1, only)
        shown.pack_started(only, 5)
        shown.trained(only, 5, 6)  # Three epochs of four were trained before.
        clock.seconds += 10
        shown.trained(only, 5, 8)
        shown.pack_started(only, 5)
        shown.trained(only, 5, 0)
        clock.seconds += 10
        shown.trained(only, 5, 1)
    lines = text.getvalue().splitlines()
    # 500 images in 10 s; 10 units of work in 10 s, and the other pack's 40 to come.
    assert lines[1].startswith("cohort 1 of 1 (fake), 5 of 10 lanes: epoch 4 of 4, 50 images/s")
    assert lines[1].endswith("about 40 s left")
    # Half as fast now: 15 units in 20 s, and 35 to come.
    assert lines[2].endswith("5 of 10 lanes: epoch 1 of 4, 25 images/s in all, about 47 s left")


def test_what_was_said_is_not_said_again(clock):
    text = io.StringIO()
    with progress.show_progress(Console(file=text, width=200), [cohort(work=1)]) as shown:
        for line in ("lanes: [all]", "lanes: [all]", "batch"):
            shown.said(line)
    assert text.getvalue() == "lanes: [all]\nbatch\n"


def test_a_terminal_gets_a_bar(clock):
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True)
    only = cohort(work=40)
    with progress.show_progress(console, [only]) as shown:
        shown.cohort_started(1, 1, only)
        begin(shown, only)
        clock.seconds += 10
        shown.trained(only, 10, 2)
    assert "cohort 1 of 1 (fake), 10 lanes" in text.getvalue()
    assert "epoch 1 of 4, 100 images/s in all, about 30 s left" in text.getvalue()
