"""What a sweep says while it works: how fast, and how long still."""

import io
import types
from typing import Any

import pytest

from mnv2_jax.ablation import progress
from mnv2_jax.terminal import Console


class Fake(types.SimpleNamespace):
    """What progress asks of a cohort."""

    def __str__(self) -> str:
        return "fake"


def cohort(work: float) -> Any:
    """A cohort of 10 lanes, 4 epochs of 100 images each."""
    recipe = Fake(epochs=4, batch_size=50)
    program = Fake(steps=8, steps_per_epoch=2, recipe=recipe)
    return Fake(work=work, runs=range(10), program=program)


def begin(shown: progress.SweepProgress, of: Any, clock: Any, seconds: float = 4.0) -> None:
    """The training of all lanes of a cohort, up to the end of its first call, a step."""
    shown.chunk_started(of, 10)
    shown.trained(of, 10, 0)
    clock.seconds += seconds
    shown.trained(of, 10, 1)


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
        begin(shown, first, clock)
        for step in range(2, 9):
            clock.seconds += 5
            shown.trained(first, 10, step)
        shown.cohort_started(2, 2, second)
        begin(shown, second, clock)
        clock.seconds += 10
        shown.trained(second, 10, 2)
    lines = text.getvalue().splitlines()
    assert lines[0] == "cohort 1 of 2 (fake), 10 lanes: compiling"
    assert lines[1] == "cohort 1 of 2 (fake), 10 lanes: epoch 1 of 4"
    # 500 images in 5 s; 110 of 120 units of work at 1 a second, and 30 s of compilation.
    assert lines[2].endswith("epoch 1 of 4, 100 images/s in all, about 2 min left")
    assert lines[-3].endswith("epoch 4 of 4, 100 images/s in all, about 110 s left")
    assert lines[-1].endswith("epoch 1 of 4, 50 images/s in all, about 60 s left")


def test_no_speed_is_told_by_short_calls(clock):
    text = io.StringIO()
    only = cohort(work=40)
    with progress.show_progress(Console(file=text, width=200), [only]) as shown:
        shown.cohort_started(1, 1, only)
        begin(shown, only, clock, seconds=4.5)
        clock.seconds += 0.5
        shown.trained(only, 10, 2)
        clock.seconds += 9.5
        shown.trained(only, 10, 4)
    lines = text.getvalue().splitlines()
    assert lines[1].endswith(": epoch 1 of 4")
    assert lines[2].endswith("epoch 2 of 4, 150 images/s in all, about 13 s left")


def test_after_the_last_step_it_evaluates(clock):
    text = io.StringIO()
    only = cohort(work=0.3)
    with progress.show_progress(Console(file=text, width=200), [only]) as shown:
        shown.cohort_started(1, 1, only)
        begin(shown, only, clock)
        for step in range(2, 9):
            clock.seconds += 5
            shown.trained(only, 10, step)
    lines = text.getvalue().splitlines()
    assert lines[-2].endswith("about 5 s left")
    assert lines[-1].endswith("epoch 4 of 4, 100 images/s in all, evaluating")


def test_a_training_of_one_call_has_no_speed(clock):
    text = io.StringIO()
    only = cohort(work=40)
    with progress.show_progress(Console(file=text, width=200), [only]) as shown:
        shown.cohort_started(1, 1, only)
        shown.chunk_started(only, 10)
        shown.trained(only, 10, 0)
        shown.trained(only, 10, 8)
    assert text.getvalue().splitlines()[1:] == ["cohort 1 of 1 (fake), 10 lanes: epoch 4 of 4"]


def test_a_failed_cohort_is_said_and_its_work_is_not_waited_for(clock):
    text = io.StringIO()
    console = Console(file=text, width=200)
    first, second = cohort(work=4_000), cohort(work=80)
    with progress.show_progress(console, [first, second]) as shown:
        shown.cohort_started(1, 2, first)
        begin(shown, first, clock)
        clock.seconds += 500
        shown.trained(first, 10, 2)
        shown.cohort_failed(first, "out of [memory]")
        shown.cohort_started(2, 2, second)
        clock.seconds += 10
        begin(shown, second, clock)
        clock.seconds += 10
        shown.trained(second, 10, 2)
    lines = text.getvalue().splitlines()
    assert lines[2] == "cohort 1 of 2 (fake), 10 lanes: failed: out of [memory]"
    assert lines[-1].endswith("about 60 s left")


def test_chunks_and_what_a_checkpoint_held(clock):
    text = io.StringIO()
    console = Console(file=text, width=200)
    only = cohort(work=80)
    with progress.show_progress(console, [only]) as shown:
        shown.cohort_started(1, 1, only)
        shown.chunk_started(only, 5)
        shown.trained(only, 5, 6)  # Three epochs of four were trained before.
        clock.seconds += 3
        shown.trained(only, 5, 7)
        clock.seconds += 5
        shown.trained(only, 5, 8)
        shown.chunk_started(only, 5)
        shown.trained(only, 5, 0)
        clock.seconds += 3
        shown.trained(only, 5, 1)
        clock.seconds += 10
        shown.trained(only, 5, 2)
    lines = text.getvalue().splitlines()
    # 250 images in 5 s; 5 units of work in 5 s, and the other chunk's 40 to come.
    assert lines[1].startswith("cohort 1 of 1 (fake), 5 of 10 lanes: epoch 4 of 4, 50 images/s")
    assert lines[1].endswith("about 40 s left")
    # Half as fast now: 10 units in 15 s, and 30 to come.
    assert lines[2].endswith("5 of 10 lanes: epoch 1 of 4, 25 images/s in all, about 45 s left")


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
        begin(shown, only, clock)
        clock.seconds += 5
        shown.trained(only, 10, 2)
    assert "cohort 1 of 1 (fake), 10 lanes" in text.getvalue()
    assert "epoch 1 of 4, 100 images/s in all, about 30 s left" in text.getvalue()
