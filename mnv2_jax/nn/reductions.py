"""Sums of products over pixels, written for XLA on CPU.

XLA's reduction of a product is slow on CPU and reads its operands once per sum. A reduction of
several operands over a short dimension becomes a loop like an elementwise one instead: unrolled
over the short dimension, vectorised over the innermost, and operands that sums share are read once.
So pixels are summed in two steps: such a loop adds up groups of `FOLDED` pixels, and plain
reductions sum the rest. Arrays have the channel outermost and the batch innermost.
"""

import operator
from collections.abc import Sequence

import jax
import numpy as np
from jax import lax

Array = jax.Array

FOLDED = 8
"""Pixels per group: few enough to unroll the loop over them, and enough that storing the sums is
cheap beside reading the pixels."""


def channel_sum(x: Array) -> Array:
    """Sum `[c, h, w, n]` to `[c]`."""
    return x.sum((1, 2, 3))


def channel_sum_of_products(left: Array, right: Array) -> Array:
    """Sum the products of two `[c, h, w, n]` to `[c]`."""
    channels, height, width, _ = left.shape
    products = left * right
    half, odd = divmod(height * width, 2)
    if odd:
        return channel_sum(products)
    # XLA compiles a reduction of one operand otherwise; so the two halves are operands.
    rows = next(rows for rows in range(FOLDED, 0, -1) if half % rows == 0)
    halves = products.reshape(channels, 2, rows, -1)
    first, second = fold((halves[:, 0], halves[:, 1]), axis=1)
    return first.sum(1) + second.sum(1)


def fold(values: Sequence[Array], axis: int) -> tuple[Array, ...]:
    """Sum each array over one short axis, all in one loop, and store the sums."""
    zeros = tuple(np.zeros((), value.dtype) for value in values)

    def add(left: Sequence[Array], right: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(map(operator.add, left, right))

    sums: Sequence[Array] = lax.reduce(tuple(values), zeros, add, (axis,))
    return tuple(lax.optimization_barrier(sums))
