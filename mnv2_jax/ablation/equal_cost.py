"""Different blocks at the same cost: width multipliers that make multiply-adds equal."""

import math
from collections.abc import Callable
from typing import Any

from mnv2_jax import presets
from mnv2_jax.nn.cost import network_cost

_PER_UNIT = 100
"""Widths are looked for in steps of a hundredth: rounding channels makes finer ones alike."""
_CLOSE = 0.01
"""Costs that differ by less count as equal."""


def width_of_equal_madds(
    preset: str, resolution: int, block: str, baseline: str, **knobs: Any
) -> float:
    """Return the width multiplier at which one block costs what another one costs at width 1.

    Multiply-adds grow in steps, since channels are rounded; the nearest step is taken.

    Args:
      preset: one of `mnv2_jax.presets.PRESETS`.
      resolution: of the images, in pixels.
      block: the one block, as in `mnv2_jax.nn.blocks.block_class`.
      baseline: the other.
      **knobs: of both networks; see `mnv2_jax.arch.KNOBS`.

    Raises:
      ValueError: a value is out of range.
    """
    target = _madds(preset, resolution, baseline, knobs, _PER_UNIT)
    ratios: dict[int, float] = {}

    def ratio(width: int) -> float:
        if width not in ratios:
            ratios[width] = _madds(preset, resolution, block, knobs, width) / target
        return ratios[width]

    _search(ratio)
    return min(ratios, key=lambda width: (abs(math.log(ratios[width])), width)) / _PER_UNIT


def _search(ratio: Callable[[int], float]) -> None:
    """Look for the width at which `ratio`, which grows about as its square, crosses 1."""
    width = _PER_UNIT
    below, above = 0, 0  # Widths known to cost too little and too much; 0 where none is.
    while abs(ratio(width) - 1) > _CLOSE:
        below, above = (width, above) if ratio(width) < 1 else (below, width)
        if above and above - below <= 1:
            return
        guess = round(width * ratio(width) ** -0.55)
        inside = max(below + 1, min(guess, above - 1 if above else guess))
        # A guess beyond what is known, or at its edge, halves what is left instead.
        width = inside if inside == guess or not (below and above) else (below + above) // 2


def _madds(preset: str, resolution: int, block: str, knobs: dict[str, Any], width: int) -> int:
    spec = presets.build(
        preset, width=width / _PER_UNIT, resolution=resolution, block=block, **knobs
    )
    return network_cost(spec).madds
