"""Refuses axes that change nothing: a comparison of a network with itself."""

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from mnv2_jax import arch
from mnv2_jax.nn.conformance import same_network


def check(configs: Sequence[ConfigDict]) -> None:
    """Checks that every knob that runs of a block differ in makes a difference to that block.

    It need not make one everywhere: where a linear projection is placed does not matter, where
    ReLU6 is placed does.

    Raises:
      ValueError: a block does not read a knob that its runs differ in, or takes two values of it
        for the same.
    """
    knobs = [knob for knob in arch.KNOBS if knob != "block"]
    by_block: dict[str, dict[tuple[Any, ...], None]] = {}  # Each setting once, whatever its seeds.
    for config in configs:
        model = config.model
        by_block.setdefault(model.block, {})[tuple(model[knob] for knob in knobs)] = None
    for block, settings in by_block.items():
        runs = [dict(zip(knobs, values, strict=True)) for values in settings]
        for knob in runs[0]:
            if len({run[knob] for run in runs}) > 1 and not _matters(block, knob, runs):
                raise ValueError(
                    f"grid: model.{knob}: with block {block!r} two of its values are the same "
                    f"network; expected values that differ, such as one alone "
                    f"(--config.model.{knob}={runs[0][knob]})"
                )


def _matters(block: str, knob: str, runs: Sequence[dict[str, Any]]) -> bool:
    """Whether there are other settings under which all values of the knob make a difference."""
    values_by_others: dict[tuple[Any, ...], dict[Any, arch.BlockSpec]] = {}
    for run in runs:
        others = tuple(value for name, value in run.items() if name != knob)
        values_by_others.setdefault(others, {})[run[knob]] = arch.BlockSpec(block, **run)
    return any(
        len(specs) > 1 and not same_network(list(specs.values()))
        for specs in values_by_others.values()
    )
