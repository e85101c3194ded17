"""The 3x3 depthwise convolution, forward and backward.

Several are timed in a row, as in a network: a single large one would mostly time the allocation of
memory. The memory layout is the best for each operator: channel outermost for ours, as the layers
around it produce it, `[batch, height, width, channels]` for `lax.conv_general_dilated`, and for
PyTorch the faster one of its two layouts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from experiments.benchmarks import peers, rows, timing
from experiments.benchmarks.workers import Pool
from mnv2_jax.nn import depthwise

Array = jax.Array

TITLE = "Depthwise 3x3 convolution, forward and backward, float32"
RATIO = "ours is times as fast"

SHAPES = (
    *((64, 16, 16, 144), (64, 8, 8, 24), (16, 56, 56, 24)),
    *((64, 32, 32, 32), (64, 4, 4, 960)),  # mobilenet_v2_32px
    *((8, 112, 112, 32), (8, 14, 14, 576), (8, 7, 7, 960)),  # mobilenet_v2
)
"""`[batch, height, width, channels]`."""

_IN_A_ROW = 8
_LIMIT = 1.0  # Seconds per contender: grouped convolutions are slow.
_CHANNEL_LAST = (0, 1, 2, 3)
_CHANNEL_FIRST = (3, 1, 2, 0)  # Each of the two permutations undoes itself.


def measure(shapes: Sequence[Sequence[int]] = SHAPES, turns: int = 5) -> list[rows.Row]:
    """Time every shape: ours, grouped `lax.conv_general_dilated` and PyTorch.

    Each contender has one array per device or process, or all threads for one array, whichever is
    faster.
    """
    with peers.torch_pools() as pools:
        return [row for shape in shapes for row in _of_shape(shape, pools, turns)]


def _of_shape(shape: Sequence[int], pools: Sequence[Pool], turns: int) -> list[rows.Row]:
    torch, absent = peers.ask(
        "PyTorch",
        pools,
        "experiments.benchmarks.torch_tasks:depthwise",
        lambda way: (shape, _IN_A_ROW, way),
        peers.torch_ways(),
        _IN_A_ROW,
    )
    contenders = [
        *_ours_or_grouped(rows.OURS, depthwise.depthwise_conv, shape, _CHANNEL_FIRST),
        *_ours_or_grouped("lax.conv, grouped", grouped_conv, shape, _CHANNEL_LAST),
        *torch,
    ]
    timings = timing.in_turns(contenders, turns, _LIMIT)
    for pool in pools:
        pool.forget()
    return rows.compare(str(list(shape)), "ms", timings, absent)


def grouped_conv(x: Array, kernel: Array, stride: int = 1, padding: str = "SAME") -> Array:
    """Compute `mnv2_jax.nn.depthwise.depthwise_conv` by XLA's grouped convolution."""
    pads = [depthwise.pad_width(size, kernel.shape[0], stride, padding) for size in x.shape[1:3]]
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None, :],
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _ours_or_grouped(
    name: str,
    convolve: Callable[[Array, Array], Array],
    shape: Sequence[int],
    order: tuple[int, ...],
) -> list[timing.Contender]:
    """Compile forward and backward passes on arrays whose dimensions are stored in `order`.

    Each of the `_IN_A_ROW` takes the result of the one before.
    """

    def run(x: Array, kernel: Array, gradient: Array) -> tuple[Array, Array, Array]:
        for _ in range(_IN_A_ROW):
            y, pull = jax.vjp(convolve, x.transpose(order), kernel)
            dx, kernel = pull(gradient.transpose(order))
            x, gradient = dx.transpose(order), y.transpose(order)
        return x, kernel, gradient

    def on(device: jax.Device) -> Callable[[], Any]:
        stored = [shape[axis] for axis in order]
        # Zeros stay zeros in a row of any length; arithmetic takes as long with them.
        arguments = [
            jax.device_put(np.zeros(size, np.float32), device)
            for size in (stored, (3, 3, shape[-1]), stored)
        ]
        compiled = jax.jit(run).lower(*arguments).compile()
        return lambda: compiled(*arguments)

    return timing.on_devices(name, [on(device) for device in jax.local_devices()], _IN_A_ROW)
