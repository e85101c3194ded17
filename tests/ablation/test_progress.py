"""What a sweep prints while it trains: its speed, and the time left."""

import contextlib
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


class Watched:
    """A sweep's progress, with a clock of its own, and what is printed."""

    def __init__(self, shown: progress.SweepProgress, clock: Any, text: io.StringIO) -> None:
        self.shown, self._clock, self._text = shown, clock, text

    @property
    def lines(self) -> list[str]:
        return self._text.getvalue().splitlines()

    def start(self, of: Any, number: int = 1, count: int = 1, compiling: float = 0.0) -> None:
        """The next cohort, compiled."""
        self.shown.cohort_started(number, count, of)
        self._clock.seconds += compiling

    def train(self, of: Any, *calls: tuple[int, float], lanes: int = 10, begun: int = 0) -> None:
        """A chunk's training from a step on: of each call the step at its end, and its seconds."""
        self.shown.chunk_started(of, lanes)
        self.shown.trained(of, lanes, begun)
        for step, seconds in calls:
            self._clock.seconds += seconds
            self.shown.trained(of, lanes, step)


@pytest.fixture
def watch(monkeypatch):
    """Opens the progress of cohorts."""
    now = types.SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress.estimates, "compiling", lambda cohort: None)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now.seconds)

    @contextlib.contextmanager
    def opened(*cohorts, width=200, **options):
        text = io.StringIO()
        console = Console(file=text, width=width, **options)
        with progress.show_progress(console, cohorts) as shown:
            yield Watched(shown, now, text)

    return opened


WHOLE = ((1, 4.0), *((step, 5.0) for step in range(2, 9)))
"""The calls of a training: the first one waits for what the programs need."""


def test_speed_leaves_compilation_out_and_the_time_left_counts_it(watch):
    first, second = cohort(work=40), cohort(work=80)
    with watch(first, second) as watched:
        watched.start(first, 1, 2, compiling=30)
        watched.train(first, *WHOLE)
        watched.start(second, 2, 2)
        watched.train(second, (1, 4.0), (2, 10.0))
    lines = watched.lines
    assert lines[0] == "cohort 1 of 2 (fake), 10 lanes: compiling"
    assert lines[1] == "cohort 1 of 2 (fake), 10 lanes: epoch 1 of 4"
    # 500 images in 5 s; 110 of 120 units of work at 1 a second, and 30 s of compilation.
    assert lines[2].endswith("epoch 1 of 4, 100 images/s in all, about 2 min left")
    assert lines[-3].endswith("epoch 4 of 4, 100 images/s in all, about 110 s left")
    assert lines[-1].endswith("epoch 1 of 4, 50 images/s in all, about 60 s left")


def test_compiling_tells_how_long_it_usually_takes(watch, monkeypatch):
    monkeypatch.setattr(progress.estimates, "compiling", lambda cohort: 33.4)
    only = cohort(work=40)
    with watch(only) as watched:
        watched.start(only)
    assert watched.lines == ["cohort 1 of 1 (fake), 10 lanes: compiling (usually 33 s)"]


def test_short_calls_give_no_speed(watch):
    only = cohort(work=40)
    with watch(only) as watched:
        watched.start(only)
        watched.train(only, (1, 4.5), (2, 0.5), (4, 9.5))
    assert watched.lines[1].endswith(": epoch 1 of 4")
    assert watched.lines[2].endswith("epoch 2 of 4, 150 images/s in all, about 13 s left")


def test_after_the_last_step_it_evaluates(watch):
    only = cohort(work=0.3)
    with watch(only) as watched:
        watched.start(only)
        watched.train(only, *WHOLE)
    assert watched.lines[-2].endswith("about 5 s left")
    assert watched.lines[-1].endswith("epoch 4 of 4, 100 images/s in all, evaluating")


def test_a_training_of_one_call_has_no_speed(watch):
    only = cohort(work=40)
    with watch(only) as watched:
        watched.start(only)
        watched.train(only, (8, 0.0))
    assert watched.lines[1:] == ["cohort 1 of 1 (fake), 10 lanes: epoch 4 of 4"]


def test_a_failed_cohort_is_said_and_its_work_is_not_waited_for(watch):
    first, second = cohort(work=4_000), cohort(work=80)
    with watch(first, second) as watched:
        watched.start(first, 1, 2)
        watched.train(first, (1, 4.0), (2, 500.0))
        watched.shown.cohort_failed(first, "out of [memory]")
        watched.start(second, 2, 2, compiling=10)
        watched.train(second, (1, 4.0), (2, 10.0))
    assert watched.lines[2] == "cohort 1 of 2 (fake), 10 lanes: failed: out of [memory]"
    assert watched.lines[-1].endswith("about 60 s left")


def test_chunks_and_what_a_checkpoint_held(watch):
    only = cohort(work=80)
    with watch(only) as watched:
        watched.start(only)
        # Three epochs of four were trained before.
        watched.train(only, (7, 3.0), (8, 5.0), lanes=5, begun=6)
        watched.train(only, (1, 3.0), (2, 10.0), lanes=5)
    _, first, second = watched.lines
    # 250 images in 5 s; 5 units of work in 5 s, and the other chunk's 40 to come.
    assert first.startswith("cohort 1 of 1 (fake), 5 of 10 lanes: epoch 4 of 4, 50 images/s")
    assert first.endswith("about 40 s left")
    # Half as fast now: 10 units in 15 s, and 30 to come.
    assert second.endswith("5 of 10 lanes: epoch 1 of 4, 25 images/s in all, about 45 s left")


def test_what_was_said_is_not_said_again(watch):
    with watch(cohort(work=1)) as watched:
        for line in ("lanes: [all]", "lanes: [all]", "batch"):
            watched.shown.said(line)
    assert watched.lines == ["lanes: [all]", "batch"]


def test_a_terminal_gets_a_bar(watch):
    only = cohort(work=40)
    with watch(only, width=80, force_terminal=True) as watched:
        watched.start(only)
        watched.train(only, (1, 4.0), (2, 5.0))
    text = "\n".join(watched.lines)
    assert "cohort 1 of 1 (fake), 10 lanes" in text
    assert "epoch 1 of 4, 100 images/s in all, about 30 s left" in text
