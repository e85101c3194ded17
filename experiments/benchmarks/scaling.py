"""Whether the cost of a lane's training grows faster than linearly in lanes, pixels or width.

The ratio is how much the cost has grown since the first row of an axis, over how much the size
has: at most 1 where growth is no faster than linear. All lanes together grow as the lanes do,
times the cost of a lane. Multiply-adds, which the rows give too, grow with the square of the width
where pointwise convolutions dominate.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax

from experiments.benchmarks import ours, timing
from experiments.benchmarks.rows import OURS, Row
from experiments.benchmarks.settings import Sgd
from experiments.benchmarks.timing import Contender
from mnv2_jax import arch, presets
from mnv2_jax.nn.cost import network_cost

TITLE = "Cost of four training steps of 64 images, over lanes, pixels and width"
RATIO = "growth over linear"

LANES = (1, 4, 16)
RESOLUTIONS = (8, 16, 32)
WIDTHS = (1.0, 2.0, 4.0)

_BATCH = 64
_STEPS = 4  # Few, so that a call of many lanes is short enough to be sampled in turns.
_LIMIT = 6.0


class Point(NamedTuple):
    """A place on an axis.

    Attributes:
      how: what it is, for people.
      size: its measure on the axis, to any scale.
      spec: the network.
      lanes: how many are trained.
    """

    how: str
    size: float
    spec: arch.NetworkSpec
    lanes: int


def measure(
    preset: str = "digits",
    lanes: Sequence[int] = LANES,
    resolutions: Sequence[int] = RESOLUTIONS,
    widths: Sequence[float] = WIDTHS,
    turns: int = 5,
) -> list[Row]:
    """Times steps of a preset, one axis at a time.

    Args:
      preset: the network at the first place of the other axes.
      lanes: per device.
      resolutions: pixels of a side; sizes are their squares.
      widths: multiply the channels.
      turns: see `experiments.benchmarks.timing.in_turns`.
    """
    axes = _axes(preset, lanes, resolutions, widths)
    programs = {(point.spec, point.lanes) for points in axes.values() for point in points}
    with ThreadPoolExecutor(len(jax.local_devices())) as compiler:
        compiling = {
            key: compiler.submit(ours.training_step, *key, _BATCH, _STEPS, Sgd())
            for key in programs
        }
    compiled = {key: step.result().run for key, step in compiling.items()}
    return [row for axis, points in axes.items() for row in _along(axis, points, compiled, turns)]


def _axes(
    preset: str, lanes: Sequence[int], resolutions: Sequence[int], widths: Sequence[float]
) -> dict[str, list[Point]]:
    devices = len(jax.local_devices())

    def network(resolution: int, width: float) -> arch.NetworkSpec:
        return presets.build(preset, resolution=resolution, width=width)

    base = network(resolutions[0], widths[0])
    return {
        "all lanes, over lanes": [
            Point(f"{devices * count} lanes", count, base, devices * count) for count in lanes
        ],
        "a lane per device, over pixels": [
            Point(f"{side} x {side} pixels", side**2, network(side, widths[0]), devices)
            for side in resolutions
        ],
        "a lane per device, over width": [
            Point(f"width {width:g}", width, network(resolutions[0], width), devices)
            for width in widths
        ],
    }


def _along(
    axis: str,
    points: Sequence[Point],
    compiled: Mapping[tuple[arch.NetworkSpec, int], Callable[[], Any]],
    turns: int,
) -> list[Row]:
    timings = timing.in_turns(
        [Contender(OURS, point.how, compiled[point.spec, point.lanes], 1) for point in points],
        turns,
        _LIMIT,
    )
    measured = []
    for point, found in zip(points, timings, strict=True):
        growth = (found.seconds / timings[0].seconds) / (point.size / points[0].size)
        how = f"{point.how}, {network_cost(point.spec).madds:,} multiply-adds per image"
        measured.append(Row(axis, OURS, how, "ms", 1e3 * found.seconds, growth, found.samples))
    return measured
