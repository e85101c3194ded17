"""The full convolution, by the faster of two ways, with its own gradient.

One way is `lax.conv_general_dilated`, the other the matrix product of patches with the kernel; the
patches are k^2 times as large as the input. On CPU the first is up to three times as fast, with two
exceptions: few input channels, as at the stem; and lanes batched by `jax.vmap`, which would make it
a grouped convolution. Both were measured on CPU alone.

XLA on CPU has a fast convolution for one order of dimensions alone. Outside of loops it brings
others into that order; inside, where training steps run, it takes a loop that is a hundred times
slower. So the gradients are written out as convolutions of that order, and barriers keep XLA from
folding their transpositions into them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import custom_batching, lax

from mnv2_jax.nn import depthwise, pointwise

Array = jax.Array

_FEW_CHANNELS = 15
"""Input channels up to which the product of patches is about as fast on CPU, or faster."""


def conv(x: Array, kernel: Array, stride: int = 1, padding: str = "SAME") -> Array:
    """Convolve `x` `[n, h, w, in]` with `kernel` `[k, k, in, out]`.

    Args:
      x: the images.
      kernel: k odd.
      stride: 1 or 2.
      padding: see `mnv2_jax.nn.depthwise.pad_width`.

    Returns:
      `[n, ceil(h / stride), ceil(w / stride), out]`.
    """
    pads = tuple(
        depthwise.pad_width(size, kernel.shape[0], stride, padding) for size in x.shape[1:3]
    )
    if x.shape[-1] <= _FEW_CHANNELS:
        return _by_patches(x, kernel, stride, pads)
    return _convolve(x, kernel, stride, pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: Array, kernel: Array, stride: int, pads: depthwise.Pads) -> Array:
    return _unless_batched(_forward, _by_patches, stride, pads)(x, kernel)


def _convolve_forward(
    x: Array, kernel: Array, stride: int, pads: depthwise.Pads
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, stride, pads), (x, kernel)


def _convolve_backward(
    stride: int, pads: depthwise.Pads, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    gradients: tuple[Array, Array] = _unless_batched(_backward, _backward_by_patches, stride, pads)(
        *residuals, gradient
    )
    return gradients


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _unless_batched(
    alone: Callable[..., Any],
    batched: Callable[..., Any],
    stride: int,
    pads: depthwise.Pads,
) -> Callable[..., Any]:
    """`alone`, or under `jax.vmap` `batched`; both take arrays, then `stride` and `pads`."""

    @custom_batching.custom_vmap
    def call(*arrays: Array) -> Any:
        return alone(*arrays, stride, pads)

    @call.def_vmap
    def _(axis_size: int, in_batched: list[bool], *arrays: Array) -> tuple[Any, Any]:
        def one(*arrays: Array) -> Any:
            return batched(*arrays, stride, pads)

        in_axes = [0 if is_batched else None for is_batched in in_batched]
        result = jax.vmap(one, in_axes, axis_size=axis_size)(*arrays)
        return result, jax.tree.map(lambda _: True, result)

    return call


def _lax_conv(x: Array, kernel: Array, padding: Any, **options: Any) -> Array:
    """XLA's convolution, of operands and to a result that are stored in its own order."""
    x, kernel = lax.optimization_barrier((x, kernel))
    options = {"window_strides": (1, 1), **options}
    order = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, kernel, padding=padding, dimension_numbers=order, **options)
    return lax.optimization_barrier(y)


def _forward(x: Array, kernel: Array, stride: int, pads: depthwise.Pads) -> Array:
    # Padded beforehand, such that XLA counts all multiply-adds, as everyone does.
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    return _lax_conv(padded, kernel, "VALID", window_strides=(stride, stride))


def _backward(
    x: Array, kernel: Array, gradient: Array, stride: int, pads: depthwise.Pads
) -> tuple[Array, Array]:
    side = kernel.shape[0]
    # The gradient, `stride` apart, where the taps of the flipped kernel reach it.
    around = [
        (side - 1 - before, size + before - (count - 1) * stride - 1)
        for size, count, (before, _) in zip(x.shape[1:3], gradient.shape[1:3], pads, strict=True)
    ]
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    dx = _lax_conv(gradient, flipped, around, lhs_dilation=(stride, stride))
    # Input channels stand in for the batch, and the batch for input channels.
    images, filters = x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3)
    shifts = _lax_conv(images, filters, pads, rhs_dilation=(stride, stride))
    # Behind a stride of 2 there may be a row or column that no output has seen.
    return dx, shifts[:, :side, :side].transpose(1, 2, 0, 3)


def _by_patches(x: Array, kernel: Array, stride: int, pads: depthwise.Pads) -> Array:
    side = kernel.shape[0]
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    height, width = (depthwise.output_size(size, stride) for size in x.shape[1:3])
    patches = [
        padded[
            :,
            row : row + (height - 1) * stride + 1 : stride,
            column : column + (width - 1) * stride + 1 : stride,
        ]
        for row in range(side)
        for column in range(side)
    ]
    flat = kernel.reshape(-1, kernel.shape[-1])
    return pointwise.pointwise(jnp.concatenate(patches, axis=-1), flat)


def _backward_by_patches(
    x: Array, kernel: Array, gradient: Array, stride: int, pads: depthwise.Pads
) -> Any:
    return jax.vjp(lambda x, kernel: _by_patches(x, kernel, stride, pads), x, kernel)[1](gradient)
