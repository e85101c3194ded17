"""A training step: forward, backward, SGD with Nesterov's momentum, BatchNorm's moments.

Images are random and in memory. Padding is the same on both sides, or PyTorch would need one more
layer. The rates of lanes, copies and processes are summed: all contenders use all cores. PyTorch
runs a loop over steps, by its public interface; ours is the program of experiments.
"""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax

from experiments.benchmarks import ours, peers, rows, timing
from experiments.benchmarks.settings import Sgd
from experiments.benchmarks.timing import Contender
from experiments.benchmarks.workers import Pool
from mnv2_jax import arch, presets

TITLE = "A training step, float32 (PyTorch on a GPU: in bf16 too)"
RATIO = "ours is times as fast"

LANES = (1, 2, 4, 8, 16, 32, 64)
"""The numbers of lanes of a thorough benchmark."""


class Workload(NamedTuple):
    """A network and the amount of training that is timed.

    Attributes:
      preset: of `mnv2_jax.presets.PRESETS`.
      expansion: of its blocks.
      batch: images per step, on a CPU.
      gpu_batch: on an accelerator.
      steps: of ours in one call; the others' loops run on the host, a step per call.
      thorough: whether all of `LANES` and `torch.compile`, which takes minutes, are always tried.
    """

    preset: str
    expansion: int
    batch: int
    gpu_batch: int
    steps: int
    thorough: bool = False

    @property
    def spec(self) -> arch.NetworkSpec:
        """The network, padded on both sides alike."""
        spec = presets.build(self.preset, expansion=self.expansion)
        ways = dataclasses.replace(spec.conventions, padding="SYMMETRIC")
        return dataclasses.replace(spec, conventions=ways)

    @property
    def images(self) -> int:
        """Images per step on this machine."""
        return self.batch if jax.default_backend() == "cpu" else self.gpu_batch


WORKLOADS = (
    Workload("digits", 1, 64, 64, 8),
    Workload("digits", 6, 64, 64, 8, thorough=True),
    Workload("digits", 10, 64, 64, 8),
    Workload("small_32px", 6, 64, 64, 4),
    Workload("mobilenet_v2_32px", 6, 32, 64, 1),
    Workload("mobilenet_v2", 6, 4, 64, 1),
)


def measure(
    workloads: Sequence[Workload] = WORKLOADS, *, thorough: bool = False, turns: int = 5
) -> list[rows.Row]:
    """Time every workload.

    Args:
      workloads: what to time.
      thorough: try all numbers of lanes and `torch.compile` with every network.
      turns: see `experiments.benchmarks.timing.in_turns`.
    """
    with peers.torch_pools() as pools:
        return [row for load in workloads for row in _of_workload(load, pools, thorough, turns)]


def _of_workload(
    load: Workload, pools: Sequence[Pool], thorough: bool, turns: int
) -> list[rows.Row]:
    spec, thorough = load.spec, thorough or load.thorough
    lanes = LANES if thorough else sorted({1, len(jax.local_devices())})
    contenders, absent = _ours(load, spec, lanes)
    for ways, reasons in (
        _torch("PyTorch, eager", load, spec, pools),
        _compiled(load, spec, pools, thorough),
    ):
        contenders += ways
        absent |= reasons
    timings = timing.in_turns(contenders, turns)
    for pool in pools:
        pool.forget()
    name = f"{load.preset}, expansion {load.expansion}, {spec.resolution} px, batch {load.images}"
    return rows.compare(name, "images/s", timings, absent)


def _ours(load: Workload, spec: arch.NetworkSpec, lanes: Sequence[int]) -> peers.Contenders:
    """Compile our layouts side by side; a compilation keeps one core busy."""
    devices = jax.local_devices()
    layouts = [(f"{rows.OURS}, {_lanes(count)}", count, False) for count in lanes]
    if len(devices) > 1 and load.images % len(devices) == 0:
        layouts.append((f"{rows.OURS}, {_lanes(1)}, batches shared", 1, True))

    def training_step(count: int, shared: bool) -> ours.Step:
        return ours.training_step(spec, count, load.images, load.steps, Sgd(), shared=shared)

    with ThreadPoolExecutor(len(devices)) as compiler:
        steps = [compiler.submit(training_step, count, shared) for _, count, shared in layouts]
    contenders, absent = [], {}
    for (name, count, _), compiled in zip(layouts, steps, strict=True):
        try:
            step = compiled.result()
            jax.block_until_ready(step.run())
        # Usually it needs more memory than there is.
        except jax.errors.JaxRuntimeError as error:
            absent[name] = f"absent: {str(error).partition(chr(10))[0][:160]}"
        else:
            amount = count * load.images * load.steps
            contenders.append(Contender(name, step.how, step.run, amount))
    return contenders, absent


def _lanes(count: int) -> str:
    return f"{count} lane{'s' if count > 1 else ''}"


def _torch(
    name: str,
    load: Workload,
    spec: arch.NetworkSpec,
    pools: Sequence[Pool],
    *,
    compiled: bool = False,
) -> peers.Contenders:
    return peers.ask(
        name,
        pools,
        "experiments.benchmarks.torch_tasks:training",
        lambda way: (spec, load.images, 1, Sgd(), way),
        peers.torch_ways(compiled=compiled),
        load.images,
    )


def _compiled(
    load: Workload, spec: arch.NetworkSpec, pools: Sequence[Pool], thorough: bool
) -> peers.Contenders:
    name = "PyTorch, torch.compile"
    if not thorough:
        return [], {name: "left out, since it compiles for minutes; see --thorough"}
    return _torch(name, load, spec, pools[-1:], compiled=True)
