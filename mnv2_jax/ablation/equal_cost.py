"""Different blocks at the same cost: width multipliers that make multiply-adds equal."""

import math
from collections.abc import Callable
from typing import Any

from mnv2_jax import presets
from mnv2_jax.nn.cost import network_cost

_PER_UNIT = 100
"""Widths are multiples of 0.01: channels are rounded, so that finer steps change nothing."""
_CLOSE = 0.01
"""Costs that differ by less count as equal."""


def width_of_equal_madds(
    preset: str, resolution: int, block: str, baseline: str, **knobs: Any
) -> float:
    """Return the width multiplier at which `block` costs what `baseline` costs at width 1.

    Both networks have the same `knobs`. Multiply-adds grow in steps, since channels are rounded;
    the nearest step is chosen.

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
    """Evaluate `ratio`, which grows roughly as the width squared, at widths where it is near 1."""
    width = _PER_UNIT
    below, above = 0, 0  # Widths that cost too little and too much; 0 if none is known.
    while abs(ratio(width) - 1) > _CLOSE:
        below, above = (width, above) if ratio(width) < 1 else (below, width)
        if above and above - below <= 1:
            return
        guess = round(width * ratio(width) ** -0.55)
        inside = max(below + 1, min(guess, above - 1 if above else guess))
        # A guess outside of the bracket is replaced by its middle.
        width = inside if inside == guess or not (below and above) else (below + above) // 2


def _madds(preset: str, resolution: int, block: str, knobs: dict[str, Any], width: int) -> int:
    spec = presets.build(
        preset, width=width / _PER_UNIT, resolution=resolution, block=block, **knobs
    )
    return network_cost(spec).madds
