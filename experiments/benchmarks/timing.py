"""Timing of contenders in one process, in turns, by medians."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

_SAMPLE_SECONDS = 0.05


class Contender(NamedTuple):
    """One way to do the work, compiled and ready to run.

    Attributes:
      name: of those with the same name, the fastest is reported.
      how: threads, memory layout and other differences from those with the same name.
      call: does the work once. It may return jax arrays that are not ready yet; other libraries
        wait for their results inside.
      amount: of work in a call, in the unit of the rows.
    """

    name: str
    how: str
    call: Callable[[], Any]
    amount: float


class Timing(NamedTuple):
    """Time of a contender.

    Attributes:
      contender: which one.
      seconds: of one call, the median of the samples.
      samples: how many there are.
    """

    contender: Contender
    seconds: float
    samples: int

    @property
    def rate(self) -> float:
        """Work per second."""
        return self.contender.amount / self.seconds


def in_turns(contenders: Sequence[Contender], turns: int = 5, limit: float = 1.5) -> list[Timing]:
    """Time every contender once per turn, so that a busy moment of the machine affects all alike.

    A sample repeats the call for at least a twentieth of a second, and waits for every result. A
    contender whose samples have taken `limit` seconds skips the remaining turns; if its first call
    takes that long, it is the only sample.
    """
    first = [_sample(contender.call, 1) for contender in contenders]
    calls = [math.ceil(_SAMPLE_SECONDS / seconds) for seconds in first]
    samples = [[seconds] if seconds >= limit else [] for seconds in first]
    for _ in range(turns):
        for contender, count, taken in zip(contenders, calls, samples, strict=True):
            if count * sum(taken) < limit:
                taken.append(_sample(contender.call, count))
    return [
        Timing(contender, statistics.median(taken), len(taken))
        for contender, taken in zip(contenders, samples, strict=True)
    ]


def on_devices(name: str, calls: Sequence[Callable[[], Any]], amount: float) -> list[Contender]:
    """Return the two ways to run a program for one device: one copy, or one copy per device.

    A CPU's cores are devices here; a program on one of them may use the threads of all.

    Args:
      name: of the contender.
      calls: one per local device; each does the work once.
      amount: of work in one of them.
    """
    count = len(calls)
    first = calls[0]
    if count == 1:
        return [Contender(name, "1 copy on 1 device", first, amount)]
    return [
        Contender(name, f"1 copy on 1 of {count} devices", first, amount),
        Contender(
            name,
            f"{count} copies, one per device",
            lambda: [call() for call in calls],
            count * amount,
        ),
    ]


def fastest_of_each_name(timings: Sequence[Timing]) -> list[Timing]:
    """Return the timing with the highest rate of each name, in order of first appearance."""
    best: dict[str, Timing] = {}
    for timing in timings:
        name = timing.contender.name
        if name not in best or timing.rate > best[name].rate:
            best[name] = timing
    return list(best.values())


def _sample(call: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(call())
    return (time.perf_counter() - start) / calls
