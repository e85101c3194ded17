"""Inverted residuals in pieces: inference in less memory (Sandler et al. 2018, section 5.1).

A block's expanded tensor is its largest, and need not exist as a whole. By channels, the block is
the sum over groups of expanded channels of (A_i o N o B_i)(x), one group after another; the
multiply-adds stay. By patches, tiles of the output are computed one after another, each from the
pixels of the input that it sees; pixels that several tiles see are expanded several times, see
`added_madds`.

Pieces run in loops of the program, since XLA on CPU would compute independent pieces side by side.
What loops begin with is computed from the block's input, see `_zero`: constants of all blocks would
be allocated from the program's start. As in `mnv2_jax.nn.depthwise`, arrays that loops carry have
the channel outermost and the batch innermost.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mnv2_jax import arch
from mnv2_jax.nn import depthwise, layers
from mnv2_jax.nn.blocks import block_class
from mnv2_jax.nn.blocks.base import Block, Carry
from mnv2_jax.nn.blocks.inverted_residual import InvertedResidual
from mnv2_jax.nn.cost import network_cost
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.pointwise import pointwise

Array = jax.Array

WHOLE = "whole"
"""The text of no pieces."""


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A way to compute inverted residuals piece by piece; its text is such as "channels:3".

    Attributes:
      by: "channels", or "patches" of the output.
      count: groups of channels, at most one for each, or patches along each side, at most one for
        each pixel. None: as many groups as each block's expansion, rounded up; the paper's t.
    """

    by: str
    count: int | None

    def __str__(self) -> str:
        return f"{self.by}:{self.count or 't'}"

    @property
    def name(self) -> str:
        """The text without a colon, for names of files."""
        return str(self).replace(":", "")

    def of(self, block: arch.BlockSpec) -> int:
        """Return the count of a block."""
        return self.count or math.ceil(block.expansion)


def parse(text: str, field: str = "pieces") -> Pieces | None:
    """Return the pieces of a text such as "channels:3", "channels:t", "patches:2"; None of "whole".

    Args:
      text: the text.
      field: its name in messages.

    Raises:
      ValueError: the text is none of these.
    """
    if text == WHOLE:
        return None
    by, _, count = text.partition(":")
    is_number = count.isascii() and count.isdecimal() and int(count) > 0
    if by not in ("channels", "patches") or not (is_number or (by, count) == ("channels", "t")):
        raise ValueError(
            f"{field}={text!r}: expected {WHOLE}, channels:N, channels:t or patches:N with N 1 or "
            f"more"
        )
    return Pieces(by, int(count) if is_number else None)


@contextlib.contextmanager
def applied(pieces: Pieces | None) -> Iterator[None]:
    """Apply networks and blocks in pieces within this context, in inference mode.

    Blocks that cannot be cut run whole: those of other classes, with squeeze-and-excitation, with a
    full convolution, and of networks with shortcuts between expansions. Kernels of pointwise
    convolutions are prepared only where they are needed, see `_zero`.
    """
    if pieces is None:
        yield
        return

    def replace(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if context.method_name != "__call__" or module.is_initializing() or kwargs.get("train"):
            return call(*args, **kwargs)
        if type(module) is InvertedResidual:
            network = module.parent
            others = network.spec.blocks if isinstance(network, Network) else ()
            count = pieces.of(module.spec)
            if count > 1 and _can_be_cut(module.spec, others):
                x, carry = args
                return _in_pieces(module, x, carry, pieces.by, count)
        elif type(module) is layers.Pointwise:
            return _pointwise(module, *args)
        return call(*args, **kwargs)

    with nn.intercept_methods(replace):
        yield


def added_madds(spec: arch.NetworkSpec, pieces: Pieces | None) -> dict[str, int]:
    """Return the multiply-adds that pieces add to a network's, for one image, by block.

    By channels it is none. By patches it is the expansion of pixels that more than one tile sees,
    or that a tile computes only to be of the same size as others.
    """
    if pieces is None or pieces.by == "channels":
        return {}
    expansions = {
        layer.path: layer for layer in network_cost(spec).layers if layer.path.endswith("/expand")
    }
    added: dict[str, int] = {}
    for name, block in zip(spec.parts[1:], spec.blocks, strict=False):
        layer, count = expansions.get(f"{name}/expand"), pieces.of(block)
        if layer and count > 1 and is_cut(spec, block):
            kernel_size, stride, padding = block.kernel_size, block.stride, spec.conventions.padding
            sides = [
                sum(
                    len(tiles.begin) * tiles.region
                    for tiles in tile(size, count, kernel_size, stride, padding)
                )
                for size in layer.input[:2]
            ]
            pixels = math.prod(sides) - math.prod(layer.input[:2])
            added[name] = pixels * math.prod(layer.kernel)
    return added


def is_cut(spec: arch.NetworkSpec, block: arch.BlockSpec) -> bool:
    """Return whether a block of a network can be cut into pieces; see `applied`."""
    return block_class(block.block) is InvertedResidual and _can_be_cut(block, spec.blocks)


def _can_be_cut(block: arch.BlockSpec, others: Sequence[arch.BlockSpec]) -> bool:
    # With a shortcut between expansions, the next block adds the whole expanded tensor.
    joins_expanded = any(one.shortcut == "expansion" for one in (block, *others))
    return not (joins_expanded or block.squeeze_excite or block.spatial_conv == "standard")


def _pointwise(layer: layers.Pointwise, x: Array) -> Array:
    """Do what the layer's `__call__` does in inference mode."""
    kernel = layer.variables["params"]["kernel"].astype(x.dtype)
    return pointwise(x, kernel + _zero(x))


def _in_pieces(block: Block, x: Array, carry: Carry, by: str, count: int) -> tuple[Array, Carry]:
    """Do what the block's `__call__` does in inference mode."""
    # Kernels are sliced where they are cut by channels.
    parts = _Parts(block, x.dtype, 0 if by == "channels" else _zero(x))
    y = _first(_by_channels(parts, x, count) if by == "channels" else _by_patches(parts, x, count))
    y = parts.normalise("project", y).astype(x.dtype)
    return block.join(x, y, carry), carry._replace(expanded=None)


Take = Callable[[Array, int], Array]
"""Takes some of an array's channels, which are along an axis."""


def _all(array: Array, axis: int) -> Array:
    return array


class _Parts:
    """The layers of a block, to be applied to pieces."""

    def __init__(self, block: Block, dtype: Any, zero: Array | int) -> None:
        self.spec = block.spec
        self.padding = block.conventions.padding
        variables = block.variables
        params, statistics = variables["params"], variables["batch_stats"]
        self._kernels = {
            name: params[name]["kernel"].astype(dtype) + zero
            for name in ("expand", "depthwise", "project")
            if name in params
        }
        self._norms = {
            name: layers.factor_and_offset(
                **params[f"{name}_norm"],
                mean=statistics[f"{name}_norm"]["mean"],
                variance=statistics[f"{name}_norm"]["var"],
                epsilon=block.conventions.norm_epsilon,
            )
            for name in self._kernels
        }

    @property
    def channels(self) -> int:
        """The number of expanded channels."""
        return self._kernels["depthwise"].shape[-1]

    def output_shape(self, x: Array) -> tuple[int, ...]:
        """Return the shape of the output for an input, both with the channel outermost."""
        _, *sides, batch = x.shape
        height, width = (depthwise.output_size(side, self.spec.stride) for side in sides)
        return self.spec.out_channels, height, width, batch

    def expand(self, x: Array, take: Take) -> Array:
        """Return some channels of the expanded tensor."""
        if "expand" not in self._kernels:
            return take(x, 3)
        return self._activate("expand", pointwise(x, take(self._kernels["expand"], 1)), take)

    def finish(self, expanded: Array, pads: depthwise.Pads, take: Take) -> Array:
        """Filter and project these channels, without the normalisation after it."""
        kernel = take(self._kernels["depthwise"], 2)
        y = depthwise.depthwise_padded(expanded, kernel, self.spec.stride, pads)
        y = self._activate("depthwise", y, take)
        return pointwise(y, take(self._kernels["project"], 0))

    def normalise(self, name: str, x: Array, take: Take = _all) -> Array:
        """Normalise these channels as BatchNorm does in inference mode."""
        factor, offset = take(self._norms[name], 1)
        return x * factor + offset

    def _activate(self, name: str, x: Array, take: Take) -> Array:
        y = self.normalise(name, x, take).astype(x.dtype)
        return layers.activate(self.spec.activation, y)


def _by_channels(parts: _Parts, x: Array, count: int) -> Array:
    """Return the sum of groups of channels before normalisation, at least float32."""
    zero = _zero(x).astype(jnp.promote_types(x.dtype, jnp.float32))
    x = _first(x)
    spec = parts.spec
    pads = tuple(
        depthwise.pad_width(size, spec.kernel_size, spec.stride, parts.padding)
        for size in x.shape[1:3]
    )

    def group(start: Array | int, size: int) -> Array:
        def take(array: Array, axis: int) -> Array:
            return lax.dynamic_slice_in_dim(array, start, size, axis)

        y = _first(parts.finish(parts.expand(_first(x), take), pads, take))
        return y.astype(zero.dtype)

    def add(start: int, size: int, index: Array, total: Array) -> Array:
        return total + group(start + index * size, size)

    total = jnp.broadcast_to(zero, parts.output_shape(x))
    for start, size, repeats in equal_runs(parts.channels, count):
        total = lax.fori_loop(0, repeats, functools.partial(add, start, size), total)
    return total


def equal_runs(size: int, count: int) -> list[tuple[int, int, int]]:
    """Divide `size` into parts as equal as possible, the longer ones first.

    Returns:
      The parts by length: the first one's start, the length, and the number of parts.
    """
    count = min(count, size)
    length, longer = divmod(size, count)
    runs = [(0, length + 1, longer), (longer * (length + 1), length, count - longer)]
    return [run for run in runs if run[2]]


class Tiles(NamedTuple):
    """Tiles of equal size along one side of an image.

    Attributes:
      start: the first output row of each tile.
      size: its output rows.
      begin: the first input row that each tile computes.
      region: the input rows that it computes; all are inside the image.
      pads: rows of zeros to be put before and after them.
      shift: the first of these padded rows that the spatial convolution reads.
      window: the number of rows that it reads.
    """

    start: np.ndarray
    size: int
    begin: np.ndarray
    region: int
    pads: tuple[int, int]
    shift: np.ndarray
    window: int


def tile(rows: int, count: int, kernel_size: int, stride: int, padding: str) -> list[Tiles]:
    """Cut the output of a convolution into `count` tiles along a side of `rows` input rows.

    Tiles that differ in size by a row, if any, are in two groups. A group's regions have one size,
    so that its tiles are passes of one loop: that of the tile that needs most.
    """
    before, _ = depthwise.pad_width(rows, kernel_size, stride, padding)
    groups = []
    for first, size, repeats in equal_runs(depthwise.output_size(rows, stride), count):
        start = first + size * np.arange(repeats)
        window = (size - 1) * stride + kernel_size
        top = start * stride - before  # Of the window: rows outside of the image are zeros.
        needed = np.minimum(top + window, rows) - np.maximum(top, 0)
        region = max(int(needed.max()), 1)
        begin = np.clip(top, 0, rows - region)
        front = max(int((begin - top).max()), 0)
        back = max(int((top + window - begin - region).max()), 0)
        groups.append(Tiles(start, size, begin, region, (front, back), front + top - begin, window))
    return groups


def _by_patches(parts: _Parts, x: Array, count: int) -> Array:
    """Return all tiles' outputs before normalisation."""
    zero = _zero(x)
    x = _first(x)
    spec = parts.spec
    channels, height, width, batch = x.shape

    def patch(rows: Tiles, columns: Tiles, at: Callable[..., tuple[Any, ...]]) -> Array:
        region = (channels, rows.region, columns.region, batch)
        inputs = lax.dynamic_slice(x, at(rows.begin, columns.begin), region)
        expanded = _first(parts.expand(_first(inputs), _all))
        # Zeros are outside of the expanded image, not of the input: BatchNorm shifts zeros.
        padded = jnp.pad(expanded, ((0, 0), rows.pads, columns.pads, (0, 0)))
        window = (parts.channels, rows.window, columns.window, batch)
        seen = lax.dynamic_slice(padded, at(rows.shift, columns.shift), window)
        return _first(parts.finish(_first(seen), ((0, 0), (0, 0)), _all))

    def write(rows: Tiles, columns: Tiles, index: Array, output: Array) -> Array:
        row, column = index // len(columns.start), index % len(columns.start)

        def at(down: np.ndarray, across: np.ndarray) -> tuple[Any, ...]:
            return 0, jnp.asarray(down)[row], jnp.asarray(across)[column], 0

        start = at(rows.start, columns.start)
        return lax.dynamic_update_slice(output, patch(rows, columns, at), start)

    sides = [
        tile(size, count, spec.kernel_size, spec.stride, parts.padding) for size in (height, width)
    ]
    output = jnp.broadcast_to(zero, parts.output_shape(x))
    for rows, columns in itertools.product(*sides):
        repeats = len(rows.start) * len(columns.start)
        output = lax.fori_loop(0, repeats, functools.partial(write, rows, columns), output)
    return output


def _zero(x: Array) -> Array:
    """Return 0 in the type of `x`, computed from it.

    XLA prepares what depends on constants and weights alone where the program starts, such as
    initial values and transposed kernels; those of all blocks would exist at once. What this is
    added to comes after `x`.
    """
    value = jnp.sum(x[:, :1, :1, :1])
    return jnp.where(jnp.isfinite(value), value, 0) * 0


def _first(x: Array) -> Array:
    """Swap the channel, last, with the batch, first; or back."""
    return x.transpose(3, 1, 2, 0)
