"""Times contenders side by side: in one process, in turns, medians."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

_SAMPLE_SECONDS = 0.05


class Contender(NamedTuple):
    """One way to do the work, ready to run: what must be compiled is compiled.

    Attributes:
      name: what is compared under; of contenders that share it, the fastest is reported.
      how: threads, memory layout and whatever else tells it from the others of its name.
      call: does the work once. It may return jax arrays that are not ready yet; a library with
        another way to wait for its results waits inside.
      amount: how much work a call is, in the unit that the rows count.
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
    """Time every contender once per turn, so that a busy moment of the machine strikes all alike.

    A sample calls often enough to last a twentieth of a second, and waits for every result. A
    contender whose samples have taken `limit` seconds sits out the remaining turns, or a slow one
    would keep the others waiting for minutes; one whose first call takes as long has that call for
    its only sample.
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
    """Return the two ways to use all devices with a program for one: a copy on each, or one copy.

    A CPU's cores are devices here, whose threads a program on one of them may use as well.

    Args:
      name: of the contender.
      calls: does the work once, for each local device.
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
    """Return the timing with the highest rate under each name, in the order of first appearance."""
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
