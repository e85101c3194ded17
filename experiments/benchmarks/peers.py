"""Peers as contenders, in processes of their own."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from experiments.benchmarks.settings import TorchWay
from experiments.benchmarks.timing import Contender
from experiments.benchmarks.workers import Pool, Unavailable

Contenders = tuple[list[Contender], dict[str, str]]
"""The ways to run a peer, or the reason for its absence by its name."""


@contextlib.contextmanager
def torch_pools() -> Iterator[list[Pool]]:
    """Start processes for PyTorch: one with a thread per core, and one per core; on a GPU one."""
    cores = len(jax.local_devices())
    arranged = [(1, cores), (cores, 1)] if cores > 1 and not on_gpu() else [(1, cores)]
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Pool(*arrangement)) for arrangement in arranged]


def torch_ways(*, compiled: bool = False) -> list[TorchWay]:
    """Return the ways to try: both memory layouts, on a GPU with and without mixed precision.

    `torch.compile` takes a minute or two for each, and is tried with `channels_last` only.
    """
    gpu = on_gpu()
    return [
        TorchWay(channels_last, compiled, bfloat16, gpu)
        for channels_last in ((True,) if compiled else (False, True))
        for bfloat16 in ((False, True) if gpu else (False,))
    ]


def on_gpu() -> bool:
    """Return whether ours runs on a GPU; PyTorch then does too."""
    return jax.default_backend() == "gpu"


def ask(
    name: str,
    pools: Sequence[Pool],
    task: str,
    arguments: Callable[[TorchWay], Sequence[Any]],
    ways: Sequence[TorchWay],
    amount: float,
) -> Contenders:
    """Prepare a task in every way in every pool.

    Args:
      name: of the contender.
      pools: see `torch_pools`.
      task: see `experiments.benchmarks.workers.Pool.prepare`.
      arguments: of the task, for a way.
      ways: to try.
      amount: of work in one process's call.
    """
    contenders, reasons = [], []
    for pool in pools:
        for way in ways:
            try:
                run = pool.prepare(task, *arguments(way))
            except Unavailable as error:
                reasons.append(str(error))
            else:
                how = f"{pool.how}, {way}"
                contenders.append(Contender(name, how, run, pool.count * amount))
    return contenders, {} if contenders else {name: f"absent: {reasons[0]}"}
