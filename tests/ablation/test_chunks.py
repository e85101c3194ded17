"""Lanes beyond memory train in chunks."""

import contextlib
import dataclasses
import errno
import json
import os
import re
import signal
import types
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.ablation import chunks, cohort, records, sweep
from mnv2_jax.train import memory
from mnv2_jax.train.loop import Trainer
from mnv2_jax.train.preemption import Interrupted, StopRequest
from mnv2_jax.train.resident import Resident
from mnv2_jax.train.streaming import Streaming
from tests import commands, samples, victim
from tests.small import curves_of

OUT = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")


@given(lanes=st.integers(1, 500), most=st.integers(1, 500))
def test_chunks_are_as_few_and_as_even_as_they_can_be(lanes, most):
    size = chunks.even(lanes, most)
    runs: list[Any] = list(range(lanes))
    pieces = chunks.split(runs, size, Resident)
    assert [run for piece in pieces for run in piece] == runs
    assert max(map(len, pieces)) <= most
    assert len(pieces) == -(-lanes // most)


def test_streamed_images_are_shared_by_the_lanes_of_a_chunk():
    seeds = [0, 1, 0, 2, 0, 1]
    runs: list[Any] = [
        types.SimpleNamespace(id=number, values=types.SimpleNamespace(data_seed=np.uint32(seed)))
        for number, seed in enumerate(seeds)
    ]
    pieces = chunks.split(runs, 2, Streaming)
    found: list[list[Any]] = [[run.id for run in piece] for piece in pieces]
    assert found == [[0, 2], [4], [1, 5], [3]]
    assert chunks.split(runs, 10, Resident) == [tuple(runs)]


def test_half_is_tried_after_an_out_of_memory_error_and_no_other():
    assert chunks.halved(5, OUT) == 3
    assert chunks.halved(2, MemoryError()) == 1
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        chunks.halved(1, OUT)
    other = jax.errors.JaxRuntimeError("INTERNAL: something else")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        chunks.halved(8, other)


@pytest.fixture
def planned(dots, tiny):
    (only,) = cohort.plan(victim.configs(epochs=2), lambda _: dots)
    return only


@pytest.mark.parametrize(
    ("needed", "message"),
    [
        # 4 x 4 x 8 values that the first block expands to.
        (512, "config.data.resolution=8: the largest activation of one image alone takes"),
        (4 * 746, "config.model.width=1.0: one copy of the parameters alone takes"),
        (512 * 32, "config.train.batch_size=32: the largest activation of a batch alone takes"),
        (512 * 256, "config.train.evaluation_batch_size=256: the largest activation of a batch"),
    ],
)
def test_what_no_memory_holds_is_refused(planned, monkeypatch, needed, message):
    monkeypatch.setattr(memory, "usable", lambda device: needed - 1)
    with pytest.raises(ValueError, match=re.escape(message)):
        chunks.check_memory([planned])
    monkeypatch.setattr(memory, "usable", lambda device: 512 * 256)
    chunks.check_memory([planned])


@pytest.mark.parametrize("changes", [{"grad_accum_steps": 4}, {"compute_dtype": "bfloat16"}])
def test_what_saves_memory_is_taken_into_account(planned, monkeypatch, changes):
    recipe = dataclasses.replace(planned.program.recipe, evaluation_batch_size=1, **changes)
    saving = dataclasses.replace(
        planned, program=dataclasses.replace(planned.program, recipe=recipe)
    )
    monkeypatch.setattr(memory, "usable", lambda device: 512 * 16)
    chunks.check_memory([saving])


@pytest.mark.parametrize("mode", ["auto", "streaming", "resident"])
def test_images_beyond_memory_are_streamed_or_refused(planned, monkeypatch, mode):
    recipe = dataclasses.replace(planned.program.recipe, evaluation_batch_size=1)
    program = dataclasses.replace(planned.program, recipe=recipe)
    planned = dataclasses.replace(planned, program=program)
    planned.runs[0].config.data.mode = mode
    # 64 + 30 of 8 x 8 pixels, for each of two devices and the host.
    monkeypatch.setattr(memory, "usable", lambda device: 94 * 64 * 3)
    chunks.check_memory([planned])
    monkeypatch.setattr(memory, "usable", lambda device: 94 * 64 * 3 - 1)
    if mode != "resident":
        assert planned.feed()[0] is Streaming
        chunks.check_memory([planned])
        return
    message = "config.data.mode='resident': the images take .* expected 'auto' or 'streaming'"
    with pytest.raises(ValueError, match=message):
        chunks.check_memory([planned])


def test_the_chunk_in_training_is_remembered(tmp_path, planned):
    unfinished = chunks.Unfinished(tmp_path, planned)
    runs = planned.runs
    assert unfinished.chunk(runs) == ((), 0)
    unfinished.begin(runs[1:3], 2)
    (unfinished.checkpoints / "7").mkdir(parents=True)
    assert unfinished.chunk(runs) == (runs[1:3], 2)
    # Begun again, it goes on; another one begins anew.
    unfinished.begin(runs[1:3], 2)
    assert (unfinished.checkpoints / "7").exists()
    unfinished.begin(runs[:2], 2)
    assert not unfinished.checkpoints.exists()
    # It goes on as long as one of its runs has no record.
    part = dataclasses.replace(planned, runs=runs[1:], finished=runs[:1])
    assert chunks.Unfinished(tmp_path, part).chunk(part.runs) == (runs[:2], 2)
    assert unfinished.chunk(runs[2:]) == ((), 0)
    unfinished.remove()
    assert unfinished.chunk(runs) == ((), 0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": ["unknown"], "size": 1}'])
def test_a_damaged_note_of_the_chunk_is_ignored(tmp_path, planned, text):
    unfinished = chunks.Unfinished(tmp_path, planned)
    unfinished.begin(planned.runs, 4)
    (tmp_path / "checkpoints" / planned.id / "pack.json").write_text(text)
    assert unfinished.chunk(planned.runs) == ((), 0)


@pytest.mark.parametrize("damage", [lambda note: note.unlink(), lambda note: note.write_text("{")])
def test_checkpoints_outlive_the_note(tmp_path, planned, damage):
    unfinished = chunks.Unfinished(tmp_path, planned)
    unfinished.begin(planned.runs, 4)
    (unfinished.checkpoints / "7").mkdir(parents=True)
    damage(tmp_path / "checkpoints" / planned.id / "pack.json")
    unfinished.begin(planned.runs, 4)
    assert (unfinished.checkpoints / "7").exists()
    assert unfinished.chunk(planned.runs) == (planned.runs, 4)


class Steps(sweep.Progress):
    """Notes with which step each chunk's training begins, and of how many runs."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []
        self._is_new = False

    def chunk_started(self, cohort: Any, lanes: int) -> None:
        self._is_new = True

    def trained(self, cohort: Any, lanes: int, step: int) -> None:
        if self._is_new:
            self.begun.append((lanes, step))
        self._is_new = False


@contextlib.contextmanager
def at_third_record(what):
    """Has something done when the third record is to be written."""
    written = []

    def watched(workdir, run, *others, write=records.write):
        written.append(run.id)
        if len(written) == 3:
            what()
        write(workdir, run, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "write", watched)
        yield


@pytest.mark.slow
def test_a_signal_or_a_full_disk_among_records_costs_no_training(tmp_path, planned, compiled_once):
    signalled, filled = tmp_path / "signalled", tmp_path / "filled"
    stop = StopRequest()
    with (
        at_third_record(lambda: os.kill(os.getpid(), signal.SIGTERM)),
        stop.listening(),
        pytest.raises(Interrupted, match="what was in training is finished"),
    ):
        sweep.Sweep(signalled, [planned], "test", sweep.Progress(), stop).run()
    assert len(curves_of(signalled)) == 4  # The signal waited for the last record.

    def fill():
        raise OSError(errno.ENOSPC, "No space left on device")

    saving = sweep.Saving(seconds=0.0)
    with at_third_record(fill), pytest.raises(OSError, match="No space left"):
        sweep.Sweep(filled, [planned], "test", sweep.Progress(), saving=saving).run()
    assert len(curves_of(filled)) == 2
    steps = Steps()
    assert sweep.Sweep(filled, [planned], "test", steps, saving=saving).run().trained == 2
    # Of two runs without a record, among the lanes that it was saved with.
    ((lanes, begun),) = steps.begun
    assert lanes == 2
    assert begun > 0
    assert [row["lanes"] for row in records.rows(filled, [planned])] == [4] * 4
    assert curves_of(filled) == curves_of(signalled)


def environments(workdir):
    return [json.loads(path.read_text()) for path in workdir.glob("runs/*/environment.json")]


@pytest.mark.slow
def test_out_of_memory_halves_the_chunk_and_goes_on(tmp_path, planned, dots, monkeypatch):
    run = Trainer.run
    tried = []

    def small_only(self, values, *others):
        tried.append(len(values))
        if len(values) > 2:
            raise OUT
        return run(self, values, *others)

    monkeypatch.setattr(Trainer, "run", small_only)
    outcome = sweep.Sweep(tmp_path, [planned], "test", sweep.Progress()).run()
    assert tried == [4, 2, 2]
    assert (outcome.trained, outcome.failed) == (4, 0)
    rows = records.rows(tmp_path, [planned])
    assert [(row["status"], row["lanes"]) for row in rows] == [("done", 2)] * 4
    assert not list((tmp_path / "checkpoints").iterdir())
    for environment in environments(tmp_path):
        assert environment["notes"][-1] == "lanes: enough of them for 2 devices"
        assert "out of memory training 4 lanes; trying 2" in environment["notes"]


def test_what_the_compiler_needs_decides_how_many_lanes_there_are(planned, dots, monkeypatch):
    compiled = []

    def trainer(program, dataset, layout, feed, workers):
        compiled.append(layout.count)
        return types.SimpleNamespace(layout=layout, bytes=100 + 10 * layout.count)

    monkeypatch.setattr(chunks, "Trainer", trainer)
    monkeypatch.setattr(memory, "usable", lambda device: 150)
    said: list[str] = []
    found = chunks.trainer_of(planned, 100, 0, said.append)
    # A proportion of 1,100 bytes asks for 13; then of 13 lanes in chunks as even as can be.
    assert compiled == [100, 13, 7, 4]
    assert found.layout.count == 4
    assert said[2].startswith("100 lanes would take")
    # Where not even one fits, it is tried all the same: what is needed is an estimate.
    monkeypatch.setattr(memory, "usable", lambda device: 1)
    assert chunks.trainer_of(planned, 100, 0, said.append).layout.count == 1


def test_out_of_memory_compiling_tries_half(planned, dots, monkeypatch):
    def trainer(program, dataset, layout, feed, workers):
        if layout.count > 30:
            raise OUT
        return types.SimpleNamespace(layout=layout, bytes=1)

    monkeypatch.setattr(chunks, "Trainer", trainer)
    said: list[str] = []
    assert chunks.trainer_of(planned, 100, 0, said.append).layout.count == 25
    assert said[2:] == [
        "out of memory compiling 100 lanes; trying 50",
        "out of memory compiling 50 lanes; trying 25",
    ]


def test_splits_of_another_seed_need_no_compilation(dots, tiny, monkeypatch):
    def trainer(program, dataset, layout, feed, workers):
        found = object.__new__(Trainer)
        vars(found).update(program=program, dataset=dataset, layout=layout, source=feed, bytes=1)
        return found

    monkeypatch.setattr(chunks, "Trainer", trainer)

    def trainer_of(earlier, seed, lanes=2, epochs=2, split="per_seed", data=dots):
        config, *_ = victim.configs(epochs=epochs)
        config.seed, config.data.split = seed, split
        (planned,) = cohort.plan([config], lambda _: data)
        found = chunks.trainer_of(planned, lanes, 0, lambda line: None, earlier)
        assert found.dataset is planned.dataset
        return found

    first = trainer_of(None, 1)
    assert trainer_of(first, 2).layout is first.layout
    for other in (
        {"epochs": 3},
        {"lanes": 4},
        {"split": "fixed"},
        {"data": samples.dots()},
    ):
        assert trainer_of(first, 2, **other).layout is not first.layout


@pytest.mark.slow
def test_lanes_beyond_the_memory_of_the_process_train_in_chunks(tmp_path):
    arguments = (tmp_path, 36, 3 * 2**29)
    process = commands.forks().Process(target=victim.many_lanes, args=arguments)
    process.start()
    process.join(commands.SECONDS)
    assert process.exitcode == 0
    found = environments(tmp_path)
    assert len(found) == 36
    assert {environment["lanes"] for environment in found} <= set(range(2, 36))
    assert all("36 lanes would take" in str(environment["notes"]) for environment in found)
