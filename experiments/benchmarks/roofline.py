"""Rates of a training step beside the highest rates of the accelerator.

Bytes and operations are XLA's counts for the compiled program. The highest rates are measured, by
copying an array and by multiplying two matrices.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks import ours, timing
from experiments.benchmarks.rows import OURS, Row
from experiments.benchmarks.settings import Sgd
from experiments.benchmarks.timing import Contender
from mnv2_jax import presets

Array = jax.Array

TITLE = "Achieved memory traffic and arithmetic of a training step"
RATIO = "share of the measured rate"

WORKLOADS = (("digits", 64), ("small_32px", 64), ("mobilenet_v2_32px", 64), ("mobilenet_v2", 16))
"""Presets and the images of a step."""

_LANES = (1, 16)
_COPIED_VALUES = 1 << 28
_MATRIX_SIDE = 8192


def measure(
    workloads: Sequence[tuple[str, int]] = WORKLOADS,
    lanes: Sequence[int] = _LANES,
    copied_values: int = _COPIED_VALUES,
    matrix_side: int = _MATRIX_SIDE,
) -> list[Row]:
    """Time a step of each network with each number of lanes.

    Args:
      workloads: see `WORKLOADS`.
      lanes: how many networks are trained at once.
      copied_values: float32 numbers of the array that is copied.
      matrix_side: rows and columns of the matrices.
    """
    copy, product = timing.in_turns([_copy(copied_values), _product(matrix_side)], turns=5)
    ceilings = {"GB/s": copy.rate, "GFLOP/s": product.rate}
    measured = [
        Row("the device", timed.contender.name, timed.contender.how, unit, timed.rate, 1.0, 5)
        for unit, timed in zip(ceilings, (copy, product), strict=True)
    ]
    for preset, batch in workloads:
        for count in lanes:
            measured += _of_step(preset, batch, count, ceilings)
    return measured


def _of_step(preset: str, batch: int, lanes: int, ceilings: dict[str, float]) -> list[Row]:
    step = ours.training_step(presets.build(preset), lanes, batch, 1, Sgd())
    (timed,) = timing.in_turns([Contender(OURS, step.how, step.run, 1)])
    counted = _counted(step.compiled)
    amounts = {"GB/s": counted.get("bytes accessed"), "GFLOP/s": counted.get("flops")}
    name = f"{preset}, batch {batch}, {lanes} lane{'s' if lanes > 1 else ''}"
    rows = []
    for unit, amount in amounts.items():
        if amount is None:
            rows.append(Row(name, OURS, "absent: XLA counts none here", unit))
            continue
        rate = amount * 1e-9 * timed.rate
        how = f"{step.how}, {1e3 * timed.seconds:.3g} ms per step"
        rows.append(Row(name, OURS, how, unit, rate, rate / ceilings[unit], timed.samples))
    return rows


def _counted(compiled: Any) -> dict[str, float]:
    """Return XLA's cost analysis of a program: a dict, or a list of one in some versions."""
    counted = compiled.cost_analysis() or {}
    return dict(counted[0] if isinstance(counted, list) else counted)


def _copy(values: int) -> Contender:
    array = jnp.zeros(values, jnp.float32)
    copy = jax.jit(lambda x: x + 1).lower(array).compile()
    gigabytes = 2 * array.nbytes * 1e-9
    return Contender("copy", "an array read and written", lambda: copy(array), gigabytes)


def _product(side: int) -> Contender:
    matrix = jnp.zeros((side, side), jnp.float32)
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    how = "product of float32 matrices at JAX's default precision"
    return Contender("product", how, lambda: product(matrix, matrix), 2e-9 * side**3)
