"""The config fields that a given base decides, and the differences of two networks.

A base is a trained network to start from. Its architecture, the size and channels of its images
and their scaling are facts: a config takes them over, and what the user says otherwise is refused.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from mnv2_jax import arch, presets
from mnv2_jax.arch import NetworkSpec

MODEL = (
    *("preset", "width", "depth", "conventions", "projection_blocks", "shortcut_blocks"),
    *arch.KNOBS,
)
"""The fields of `config.model`."""

_WIDTHS = tuple(
    hundredths / 100  # Round ones first: the width is known only up to the rounding of channels.
    for hundredths in sorted(range(5, 301), key=lambda n: (n != 100, n % 10 != 0, n % 5 != 0))
)
_DEPTHS = (1.0, 1.2, 1.4)
"""Multipliers that are tried where no config of the base is known."""

_FREE = (
    *("blocks", "classes", "conventions", "dropout", "initializer", "norm_momentum"),
    "projection_bias",
)
"""Fields that may differ: features of the same images are the same."""


def differences(base: NetworkSpec, wanted: NetworkSpec) -> list[str]:
    """Name the fields in which two networks compute other features: the base's value, then another.

    Args:
      base: the network that was trained.
      wanted: another one, of any classes and dropout.
    """
    if len(base.blocks) != len(wanted.blocks):
        return [f"{len(base.blocks)} blocks, not {len(wanted.blocks)}"]
    found = [f"{field} {left!r}, not {right!r}" for field, left, right in _compared(base, wanted)]
    found += [
        f"{field} {left!r}, not {right!r}"
        for field, left, right in _compared(base.conventions, wanted.conventions)
    ]
    in_blocks: dict[str, list[int]] = {}
    for number, pair in enumerate(zip(base.blocks, wanted.blocks, strict=True), start=1):
        for field, left, right in _compared(*pair):
            in_blocks.setdefault(f"{field} {left!r}, not {right!r}", []).append(number)
    return [*found, *(f"{text} in {_blocks(numbers)}" for text, numbers in in_blocks.items())]


def model_of(
    spec: NetworkSpec, own: Mapping[str, Any], recorded: Mapping[str, Any]
) -> dict[str, Any]:
    """Return fields of `config.model` that build a network; {} if no preset does.

    Args:
      spec: the network.
      own: the fields of a config, which are returned if they build it.
      recorded: the fields that it was trained with, if they are known; likewise.
    """
    candidates = (own, {**own, **recorded})
    found = next((fields for fields in candidates if builds(fields, spec)), None)
    return dict(_guess(spec) if found is None else found)


def builds(fields: Mapping[str, Any], spec: NetworkSpec) -> bool:
    """Return whether fields of `config.model` build a network with the same features."""
    try:
        built = presets.build(
            **{name: fields[name] for name in MODEL if name in fields},
            resolution=spec.resolution,
            in_channels=spec.in_channels,
            classes=spec.classes,
        )
    except (ValueError, TypeError):  # Such as `conventions="weights"`, or a preset of another file.
        return False
    return not differences(spec, built)


def conventions_of(ways: arch.Conventions) -> str:
    """Return the name of conventions, whatever their dropout; "" if they have none."""
    for name, named in arch.CONVENTIONS.items():
        if dataclasses.replace(named, dropout=ways.dropout) == ways:
            return name
    return ""


@functools.lru_cache(
    maxsize=8
)  # Every run of a grid asks for the same base, and it takes a second.
def _guess(spec: NetworkSpec) -> dict[str, Any]:
    return next((fields for fields in _guesses(spec) if builds(fields, spec)), {})


def _guesses(spec: NetworkSpec) -> Iterator[dict[str, Any]]:
    last = spec.blocks[-1]
    knobs = {name: getattr(last, name) for name in arch.KNOBS}
    conventions = conventions_of(spec.conventions)
    for preset, depth, width in itertools.product(presets.PRESETS, _DEPTHS, _WIDTHS):
        multipliers = {"preset": preset, "width": width, "depth": depth}
        yield {**multipliers, "conventions": conventions, **knobs}


def _compared(base: Any, wanted: Any) -> Iterator[tuple[str, Any, Any]]:
    for field in dataclasses.fields(base):
        left, right = getattr(base, field.name), getattr(wanted, field.name)
        if field.name not in _FREE and left != right:
            yield field.name, left, right


def _blocks(numbers: list[int]) -> str:
    """Write numbers of blocks, runs of them by their ends: `blocks 2 to 17`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return f"{'block' if len(numbers) == 1 else 'blocks'} {', '.join(parts)}"
