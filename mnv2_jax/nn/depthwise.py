"""Depthwise convolution, written for XLA as sums of shifted products, with a custom gradient.

XLA lowers a grouped convolution with one channel per group to a loop that is an order of magnitude
slower than its arithmetic, above all in the gradient of the kernel (jax issue 13800). Here the
forward pass and the gradient of the input are k^2 shifted multiply-adds, which fuse into one loop
over memory, and the gradient of the kernel adds up several rows of the image in registers before it
reduces.

Arguments and results are `[batch, height, width, channels]`. Inside, the channel is outermost and
the batch innermost: the few channels of bottlenecks would leave vector registers half empty, a
batch does not. XLA propagates the transpositions to the neighbouring operations as changes of
layout; between two operators of this order nothing is copied.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from mnv2_jax import arch
from mnv2_jax.nn import reductions

Array = jax.Array


def output_size(size: int, stride: int) -> int:
    """Return the rows (or columns) of output for `size` rows of input, with either padding."""
    return -(-size // stride)


def pad_width(size: int, kernel_size: int, stride: int, padding: str) -> tuple[int, int]:
    """Return the rows (or columns) of zeros before and after the input.

    "SAME" is TensorFlow's rule, which puts the odd one after; "SYMMETRIC" puts `kernel_size // 2`
    on both sides, as PyTorch models do. They differ only where the stride is 2.
    """
    if padding == "SYMMETRIC":
        return kernel_size // 2, kernel_size // 2
    total = max((output_size(size, stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def depthwise_conv(x: Array, kernel: Array, stride: int = 1, padding: str = "SAME") -> Array:
    """Convolve every channel with its own kernel (Table 1, the middle row).

    Args:
      x: `[batch, height, width, channels]`.
      kernel: `[k, k, channels]`, k odd.
      stride: 1 or 2.
      padding: "SAME" or "SYMMETRIC", see `pad_width`.

    Returns:
      `[batch, ceil(height / stride), ceil(width / stride), channels]`.

    Raises:
      ValueError: kernel, stride or padding is none of these.
    """
    side = kernel.shape[0]
    if kernel.shape != (side, side, x.shape[-1]) or side % 2 == 0:
        raise ValueError(f"kernel shape {kernel.shape}: expected (k, k, {x.shape[-1]}) with k odd")
    arch.check_choice("stride", stride, (1, 2))
    arch.check_choice("padding", padding, arch.PADDINGS)
    return depthwise_padded(
        x,
        kernel,
        stride,
        tuple(pad_width(size, side, stride, padding) for size in x.shape[1:3]),
    )


Pads = tuple[tuple[int, int], ...]


def depthwise_padded(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """Convolve as `depthwise_conv` does, with given numbers of zeros around the image.

    Args:
      x: `[batch, height, width, channels]`.
      kernel: `[k, k, channels]`.
      stride: 1 or 2.
      pads: rows before and after, columns before and after.
    """
    y = _convolve(x.transpose(3, 1, 2, 0), kernel.transpose(2, 0, 1), stride, pads)
    return y.transpose(3, 1, 2, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """Convolve `x` `[c, h, w, n]` with `kernel` `[c, k, k]`; `pads` are those of h and w."""
    return _forward(x, kernel, stride, pads)[0]


def _forward(x: Array, kernel: Array, stride: int, pads: Pads) -> tuple[Array, tuple[Array, Array]]:
    side = kernel.shape[1]
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    height, width = ((size - side) // stride + 1 for size in padded.shape[1:3])
    return _taps(padded, kernel, (height, width), stride), (padded, kernel)


def _backward(
    stride: int, pads: Pads, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    padded, kernel = residuals
    side = kernel.shape[1]
    size = tuple(
        rows - before - after for rows, (before, after) in zip(padded.shape[1:3], pads, strict=True)
    )
    # The gradient, dilated by `stride` and padded such that every pixel's taps lie inside.
    starts = tuple(side - 1 - before for before, _ in pads)
    spread_pads = [(0, 0, 0)]
    for rows, (before, _), start, out_rows in zip(
        size, pads, starts, gradient.shape[1:3], strict=True
    ):
        spread_pads.append((start, rows + before - (out_rows - 1) * stride - 1, stride - 1))
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), [*spread_pads, (0, 0, 0)])
    # Every tap reads these; without the barrier XLA would recompute them for each.
    padded, spread = lax.optimization_barrier((padded, spread))
    # The transposed convolution, by the flipped kernel.
    input_gradient = _taps(spread, kernel[:, ::-1, ::-1], size, stride=1)
    out_size = gradient.shape[1:3]
    return input_gradient, _kernel_gradient(padded, spread, starts, out_size, side, stride)


_convolve.defvjp(_forward, _backward)


def _taps(x: Array, kernel: Array, size: tuple[int, ...], stride: int) -> Array:
    """Sum k^2 shifted views of `x`, of `size` rows and columns, weighted by `kernel`."""
    side = kernel.shape[1]
    products = (
        _view(x, (row, column), size, (stride, stride)) * kernel[:, row, column, None, None, None]
        for row in range(side)
        for column in range(side)
    )
    return functools.reduce(jnp.add, products)


def _view(x: Array, start: tuple[int, ...], size: tuple[int, ...], step: tuple[int, int]) -> Array:
    """Return `size` rows and columns of `x` `[c, h, w, n]`, `step` apart, from `start` on."""
    ends = [
        first + (count - 1) * every + 1
        for first, count, every in zip(start, size, step, strict=True)
    ]
    return lax.slice(x, (0, *start, 0), (x.shape[0], *ends, x.shape[3]), (1, *step, 1))


def _kernel_gradient(
    x: Array, spread: Array, starts: tuple[int, ...], size: tuple[int, ...], side: int, stride: int
) -> Array:
    """Sum `x` times the gradient for each of the k^2 shifts between them, `[c, k, k]`.

    One loop over memory adds up equal blocks of at most `reductions.FOLDED` rows, for as many taps
    at a time as registers hold.

    Args:
      x: the padded input, `[c, h, w, n]`.
      spread: the gradient, dilated by `stride` and padded.
      starts: the gradient's first row and column in `spread`.
      size: the gradient's rows and columns.
      side: k.
      stride: 1 or 2.
    """
    height, width = size
    blocks = -(-height // reductions.FOLDED)
    rows = -(-height // blocks)
    missing = (blocks * rows - height) * stride
    x, spread = (jnp.pad(value, ((0, 0), (0, missing), (0, 0), (0, 0))) for value in (x, spread))

    def view(value: Array, start: tuple[int, ...]) -> Array:
        shape = (value.shape[0], blocks, rows, width, value.shape[3])
        return _view(value, start, (blocks * rows, width), (stride, stride)).reshape(shape)

    gradient = view(spread, starts)
    shifts = [(row, column) for row in range(side) for column in range(side)]
    at_once = side * max(1, 9 // side)
    taps = []
    for first in range(0, len(shifts), at_once):
        products = [view(x, shift) * gradient for shift in shifts[first : first + at_once]]
        taps += [tap.sum((1, 2, 3)) for tap in reductions.fold(products, axis=2)]
    return jnp.stack(taps, axis=1).reshape(-1, side, side)
