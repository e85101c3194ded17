"""Full convolution by the faster of two methods, with a custom gradient.

The methods are `lax.conv_general_dilated`, and a matrix product of the kernel with patches, which
take k^2 times the memory of the input. On CPU the first is up to three times as fast, but for few
input channels, as at the stem, and for lanes batched by `jax.vmap`, where it would become a grouped
convolution. Both were measured on CPU only.

XLA on CPU has a fast convolution for one order of dimensions only. Outside of loops it transposes
to that order; inside, where training steps run, it falls back to a loop that is a hundred times
slower. So the gradients are written as convolutions in that order, and barriers keep XLA from
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
"""Input channels up to which the product of patches is as fast on CPU, or faster."""


def conv(x: Array, kernel: Array, stride: int = 1, padding: str = "SAME") -> Array:
    """Convolve `x` `[n, h, w, in]` with `kernel` `[k, k, in, out]`, k odd.

    Args:
      x: images.
      kernel: shared by all images.
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
    """Return `alone`, replaced by `batched` under `jax.vmap`, for this stride and padding."""

    @custom_batching.custom_vmap
    def call(*arrays: Array) -> Any:
        return alone(*arrays, stride, pads)

    @call.def_vmap
    def _(axis_size: int, in_batched: list[bool], *arrays: Array) -> tuple[Any, Any]:
        in_axes = [0 if is_batched else None for is_batched in in_batched]
        lanes = jax.vmap(lambda *lane: batched(*lane, stride, pads), in_axes, axis_size=axis_size)
        result = lanes(*arrays)
        return result, jax.tree.map(lambda _: True, result)

    return call


def _lax_conv(x: Array, kernel: Array, padding: Any, **options: Any) -> Array:
    """Convolve by XLA, with operands and result stored in its order of dimensions."""
    x, kernel = lax.optimization_barrier((x, kernel))
    options = {"window_strides": (1, 1), **options}
    order = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, kernel, padding=padding, dimension_numbers=order, **options)
    return lax.optimization_barrier(y)


def _forward(x: Array, kernel: Array, stride: int, pads: depthwise.Pads) -> Array:
    # Padded beforehand, so that XLA's cost analysis counts the multiply-adds with zeros too.
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    return _lax_conv(padded, kernel, "VALID", window_strides=(stride, stride))


def _backward(
    x: Array, kernel: Array, gradient: Array, stride: int, pads: depthwise.Pads
) -> tuple[Array, Array]:
    side = kernel.shape[0]
    # Padding of the dilated gradient, which the flipped kernel convolves.
    around = [
        (side - 1 - before, size + before - (count - 1) * stride - 1)
        for size, count, (before, _) in zip(x.shape[1:3], gradient.shape[1:3], pads, strict=True)
    ]
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    dx = _lax_conv(gradient, flipped, around, lhs_dilation=(stride, stride))
    # Input channels take the place of the batch, and the batch that of input channels.
    images, filters = x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3)
    shifts = _lax_conv(images, filters, pads, rhs_dilation=(stride, stride))
    # With stride 2 no output may have read the last row or column.
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
