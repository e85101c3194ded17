"""Sweeps in a process of their own, which tests kill or give little memory."""

import dataclasses
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jax

from configs import digits
from mnv2_jax import presets
from mnv2_jax.ablation import cohort, grid, sweep
from mnv2_jax.train import compilation
from mnv2_jax.train.checkpoint import Checkpoints
from mnv2_jax.train.preemption import Interrupted, StopRequest
from tests import samples

ONE_BLOCK = dataclasses.replace(samples.TINY, stages=lambda t: (presets.Stage(t, 4, 1, 2),))
"""It compiles in half the time of `samples.TINY`."""


class Marking(sweep.Progress):
    """Leaves a file when training begins, and writes each step there."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def trained(self, cohort: Any, lanes: int, step: int) -> None:
        """See `mnv2_jax.ablation.sweep.Progress`."""
        beside = self._mark.with_suffix(".new")
        beside.write_text(str(step))
        beside.replace(self._mark)


def configs(epochs: int) -> list[Any]:
    """Four lanes of two steps per epoch."""
    config = digits.get_config()
    config.data.name = "dots"
    config.model.preset = "tiny"
    config.model.expansion = 2.0
    config.train.epochs = epochs
    config.train.batch_size = 32
    config.augment.shift = 1
    axes = [grid.axis("seed", (0, 1)), grid.axis("model.projection", ("linear", "relu6"))]
    return grid.expand(config, grid.product(*axes))


def work(
    workdir: Path, cache: Path, epochs: int, fatal_save: int = 0, workers: int | None = None
) -> None:
    """Train to the end, saving at and within epochs; exit as a command would.

    Args:
      workdir: of the sweep.
      cache: for compiled programs.
      epochs: of a run.
      fatal_save: number of the save during which the process kills itself; 0 for never.
      workers: processes that decode images, which are then streamed to all lanes at once.
    """
    jax.config.update("jax_num_cpu_devices", 2)
    compilation.keep_programs(cache)
    presets.PRESETS["tiny"] = ONE_BLOCK
    if fatal_save:
        _die_in_save(fatal_save)
    data = samples.dots()
    stop = StopRequest()
    runs = configs(epochs)
    if workers is not None:
        for run in runs:
            run.data.update({"mode": "streaming", "order": "shared"})
    cohorts = cohort.plan(runs, lambda _: data)
    try:
        with stop.listening():
            sweep.Sweep(
                workdir,
                cohorts,
                "victim",
                Marking(workdir.parent / "mark"),
                stop,
                sweep.Saving(seconds=0.0, keep=True),
                workers or 0,
                recorded=lambda: sweep.write_table(workdir, cohorts),
            ).run()
    except Interrupted as stopped:
        os._exit(128 + stopped.signal)
    sys.exit(0)


def _die_in_save(number: int) -> None:
    save = Checkpoints.save
    saves = []

    def fatal(self: Checkpoints, *arguments: Any) -> None:
        save(self, *arguments)
        saves.append(1)
        if len(saves) == number:
            begun = time.monotonic()  # Until the background has begun to write.
            while not list(self._folder.glob("*tmp*")) and time.monotonic() < begun + 5:
                time.sleep(0.0005)
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.save = fatal  # type: ignore[method-assign, assignment]


def many_lanes(workdir: Path, lanes: int, limit: int) -> None:
    """Trains lanes of 5 MB of parameters and momenta each, in a process of limited memory."""
    jax.config.update("jax_num_cpu_devices", 2)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    presets.PRESETS["tiny"] = dataclasses.replace(ONE_BLOCK, head_channels=40_000)
    data = samples.dots(8, 8, 8)
    config = configs(epochs=1)[0]
    config.train.batch_size = 8
    config.train.evaluation_batch_size = 8
    seeds = grid.axis("seed", range(lanes))
    cohorts = cohort.plan(grid.expand(config, seeds), lambda _: data)
    outcome = sweep.Sweep(workdir, cohorts, "test", sweep.Progress()).run()
    sys.exit(outcome != sweep.Outcome(trained=lanes, failed=0))
