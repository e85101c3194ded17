"""The depthwise convolution, written for XLA: sums of shifted products with its own gradient.

XLA lowers a grouped convolution with one channel per group to a loop that is an order of
magnitude slower than the arithmetic asks for, above all in the gradient of the kernel (jax issue
13800). Here the forward pass and the gradient of the input are k^2 shifted multiply-adds, which
fuse into one loop over memory, and the gradient of the kernel folds several rows of the image by
multiply-adds in registers before anything is reduced.

Arrays are `[batch, height, width, channels]` at the door. Inside, the channel is outermost and
the batch innermost: the small channel counts of bottlenecks would leave vector registers half
empty, a batch does not. The transpositions are changes of layout that XLA propagates to the
neighbouring operations; they copy nothing between two operators that both work this way.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array


def output_size(size: int, stride: int) -> int:
    """Rows (or columns) of the output for `size` rows of input, with either padding."""
    return -(-size // stride)


def pad_width(size: int, kernel_size: int, stride: int, padding: str) -> tuple[int, int]:
    """Rows (or columns) of zeros before and after, for "SAME" or "SYMMETRIC" padding.

    "SAME" is TensorFlow's rule, which puts the odd one after; "SYMMETRIC" puts `kernel_size // 2`
    on both sides, as PyTorch models do. They differ only where the stride is 2.
    """
    if padding == "SYMMETRIC":
        return kernel_size // 2, kernel_size // 2
    total = max((output_size(size, stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def depthwise_conv(x: Array, kernel: Array, stride: int = 1, padding: str = "SAME") -> Array:
    """Convolves every channel with a kernel of its own (Table 1, the middle row).

    Args:
      x: `[batch, height, width, channels]`.
      kernel: `[k, k, channels]`, k odd.
      stride: 1 or 2.
      padding: "SAME" or "SYMMETRIC", see `pad_width`.

    Returns:
      `[batch, ceil(height / stride), ceil(width / stride), channels]`.

    Raises:
      ValueError: kernel, stride or padding are not of this form.
    """
    side = kernel.shape[0]
    if kernel.shape != (side, side, x.shape[-1]) or side % 2 == 0:
        raise ValueError(f"kernel shape {kernel.shape}: expected (k, k, {x.shape[-1]}) with k odd")
    if stride not in (1, 2):
        raise ValueError(f"stride={stride!r}: expected 1 or 2")
    if padding not in ("SAME", "SYMMETRIC"):
        raise ValueError(f"padding={padding!r}: expected SAME or SYMMETRIC")
    rows, columns = (pad_width(size, side, stride, padding) for size in x.shape[1:3])
    padded = jnp.pad(x.transpose(3, 1, 2, 0), ((0, 0), rows, columns, (0, 0)))
    return _valid(padded, kernel.transpose(2, 0, 1), stride).transpose(3, 1, 2, 0)


_FOLDED_ROWS = 8
"""Rows that the kernel's gradient adds up before it stores: enough that what is stored is no larger
than the input, few enough that the unrolled sums compile quickly."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _valid(x: Array, kernel: Array, stride: int) -> Array:
    """Convolves `x` `[c, h, w, n]`, padded already, with `kernel` `[c, k, k]`."""
    side = kernel.shape[1]
    height, width = ((size - side) // stride + 1 for size in x.shape[1:3])
    return _taps(x, kernel, height, width, stride)


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _valid(x, kernel, stride), (x, kernel)


def _backward(stride: int, residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    # What is read by many taps is stored once; without the barrier XLA recomputes it for each.
    x, gradient = lax.optimization_barrier((residuals[0], gradient))
    kernel = residuals[1]
    return (
        _input_gradient(gradient, kernel, x.shape[1:3], stride),
        _kernel_gradient(x, gradient, kernel.shape[1], stride),
    )


_valid.defvjp(_forward, _backward)


def _taps(x: Array, kernel: Array, height: int, width: int, stride: int) -> Array:
    """Sums k^2 shifted views `[c, height, width, n]` of `x`, weighted by `kernel` `[c, k, k]`."""
    side = kernel.shape[1]
    products = (
        _view(x, (row, column), (height, width), (stride, stride))
        * kernel[:, row, column, None, None, None]
        for row in range(side)
        for column in range(side)
    )
    return functools.reduce(jnp.add, products)


def _view(x: Array, start: tuple[int, int], size: tuple[int, int], step: tuple[int, int]) -> Array:
    """`size` rows and columns of `x` `[c, h, w, n]`, `step` apart, from `start` on."""
    ends = [
        first + (count - 1) * every + 1
        for first, count, every in zip(start, size, step, strict=True)
    ]
    return lax.slice(x, (0, *start, 0), (x.shape[0], *ends, x.shape[3]), (1, *step, 1))


def _input_gradient(gradient: Array, kernel: Array, size: tuple[int, ...], stride: int) -> Array:
    """The transposed convolution: taps of the flipped kernel over the dilated gradient."""
    side = kernel.shape[1]
    config = [(0, 0, 0)]
    for rows, out_rows in zip(size, gradient.shape[1:3], strict=True):
        dilated = (out_rows - 1) * stride + 1
        config.append((side - 1, rows - dilated, stride - 1))
    config.append((0, 0, 0))
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), config)
    return _taps(spread, kernel[:, ::-1, ::-1], size[0], size[1], stride=1)


def _kernel_gradient(x: Array, gradient: Array, side: int, stride: int) -> Array:
    """Sums `x` times `gradient` for each of the k^2 shifts between them, `[c, k, k]`.

    XLA's reductions on CPU are slow when they must multiply first, its elementwise loops are fast.
    So the image is cut into equal blocks of at most `_FOLDED_ROWS` rows, which an unrolled sum
    lays on top of each other, and the plain reduction afterwards has that much less to read.
    """
    height, width = gradient.shape[1:3]
    blocks = -(-height // _FOLDED_ROWS)
    rows = -(-height // blocks)
    missing = blocks * rows - height
    gradient = jnp.pad(gradient, ((0, 0), (0, missing), (0, 0), (0, 0)))
    x = jnp.pad(x, ((0, 0), (0, missing * stride), (0, 0), (0, 0)))

    def folded(row: int, column: int) -> Array:
        products = (
            _view(
                x,
                (row + stride * within, column),
                (blocks, width),
                (stride * rows, stride),
            )
            * _view(gradient, (within, 0), (blocks, width), (rows, 1))
            for within in range(rows)
        )
        return functools.reduce(jnp.add, products)

    taps = []
    for row in range(side):
        partial = jnp.stack([folded(row, column) for column in range(side)], axis=1)
        taps.append(lax.optimization_barrier(partial).sum((2, 3, 4)))
    return jnp.stack(taps, axis=1)
