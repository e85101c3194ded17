"""Quantisation of trained networks, simulated in float32: folding, number formats, equalisation.

A number format is data, so that one compiled program has lanes of any width. Kernels, and the
inputs of all layers with a kernel, are rounded to their formats; products are summed in float32,
biases and shortcuts are not rounded. Integers are uniform, symmetric for kernels and affine for
activations, with 0 exact, as in Krishnamoorthi 2018 (arXiv 1806.08342, sections 2.1 and 2.2).
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax

from mnv2_jax import arch
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.nn.layers import Conv, Dense, Depthwise, Pointwise
from mnv2_jax.nn.network import Network

Array = jax.Array
Path = tuple[str, ...]
"""Names of modules from the network down to a layer."""

LAYERS = (Pointwise, Depthwise, Conv, Dense, nn.Conv, nn.Dense)
"""The layers whose kernels and inputs are quantised: those of this package, and Flax's own."""

PERCENTILE = 99.9
"""Of an image's values, where outliers are clipped."""

_NORM = "_norm"
_ALL_DIGITS = 127.0  # More than a float32 has: every number is a multiple of the unit.


class Format(NamedTuple):
    """A number format: multiples of a unit, or floats; arrays or scalars, float32.

    Attributes:
      unit: spacing of integers, or of a float format's subnormal numbers; 0 rounds nothing.
      digits: bits of a float's fraction, beyond which spacing doubles with every power of two.
      low: the lowest number; what lies below is clipped.
      high: the highest number.
    """

    unit: Any
    digits: Any
    low: Any
    high: Any


EXACT = Format(*map(np.float32, (0, _ALL_DIGITS, 0, 0)))
"""The format that rounds nothing."""


def _float(digits: int, lowest_exponent: int, high: float) -> Format:
    unit = 2.0 ** (lowest_exponent - digits)
    return Format(*map(np.float32, (unit, digits, -high, high)))


FLOATS: dict[str, Format] = {
    # Below 2^-53 in steps of 2^-60, where bfloat16 itself goes on to 2^-126.
    "bfloat16": _float(7, -53, 3.3895314e38),
    "float16": _float(10, -14, 65504.0),
    "float8_e4m3": _float(3, -6, 448.0),
    "float8_e5m2": _float(2, -14, 57344.0),
}
"""Float formats (Micikevicius et al. 2022, arXiv 2209.05433, for those of 8 bits). Numbers beyond
the largest one are clipped to it."""


def symmetric(bits: int, largest: np.ndarray | float) -> Format:
    """Return integers from -n to n, n = 2^(bits-1) - 1, that reach to +-`largest`.

    Args:
      bits: 2 or more.
      largest: 0 or more; one number, or one for each output channel.
    """
    steps = np.float32(2 ** (bits - 1) - 1)
    unit = np.float32(largest) / steps
    return Format(unit, np.full_like(unit, _ALL_DIGITS), -steps * unit, steps * unit)


def affine(bits: int, low: float, high: float) -> Format:
    """Return 2^bits integers that reach from `low` to `high`, moved such that 0 is one of them.

    A range that does not include 0 is extended to it.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    steps = np.float32(2**bits - 1)
    unit = np.float32(high - low) / steps
    below = np.rint(np.float32(-low) / unit) if unit else np.float32(0)
    return Format(unit, np.float32(_ALL_DIGITS), -below * unit, (steps - below) * unit)


def quantise(x: Array, format: Format) -> Array:
    """Round float32 numbers to a format, halves to even, and clip them to its ends."""
    unit, digits, low, high = (jnp.asarray(part, jnp.float32) for part in format)
    ratio = x / jnp.where(unit > 0, unit, 1)
    # The exponent from the number's own bits: a logarithm could round across a power of two.
    exponent = (lax.bitcast_convert_type(ratio, jnp.int32) >> 23 & 255) - 127
    doublings = jnp.maximum(exponent - digits.astype(jnp.int32), 0)
    spacing = lax.bitcast_convert_type((doublings + 127) << 23, jnp.float32)
    rounded = jnp.round(ratio / spacing) * spacing * unit
    return jnp.where(unit > 0, jnp.clip(rounded, low, high), x)


def fold(variables: Mapping[str, Any], epsilon: float) -> dict[str, Any]:
    """Fold the running moments and scales of BatchNorms into the kernels before them.

    A BatchNorm of the name `LAYER_norm` follows `LAYER`; others stay. What is left of it is its
    bias.

    Args:
      variables: `{"params": ..., "batch_stats": ...}`, arrays on the host.
      epsilon: of the BatchNorms.
    """
    flat = {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(variables).items()}
    for _, *module, leaf in list(flat):
        kernel = ("params", *module[:-1], module[-1].removesuffix(_NORM), "kernel")
        if leaf != "scale" or not module[-1].endswith(_NORM) or kernel not in flat:
            continue
        scale, bias = (("params", *module, name) for name in ("scale", "bias"))
        mean, variance = (("batch_stats", *module, name) for name in ("mean", "var"))
        factor = flat[scale] / np.sqrt(flat[variance].astype(np.float64) + epsilon)
        flat[bias] = (flat[bias] - flat[mean] * factor).astype(np.float32)
        flat[kernel] = (flat[kernel] * factor).astype(np.float32)
        flat[scale], flat[mean] = np.ones_like(flat[scale]), np.zeros_like(flat[mean])
        flat[variance] = np.full_like(flat[variance], 1 - epsilon)
    folded: dict[str, Any] = traverse_util.unflatten_dict(flat)
    return folded


def kernels(variables: Mapping[str, Any], layers: Sequence[Path]) -> dict[Path, np.ndarray]:
    """Return the kernels of layers by path, `[..., output channels]`."""
    flat = traverse_util.flatten_dict(variables["params"])
    return {path: np.asarray(flat[*path, "kernel"]) for path in layers}


def unknown(variables: Mapping[str, Any], layers: Collection[Path]) -> list[Path]:
    """Return the paths of kernels that are of none of these layers, which would stay float32."""
    flat = traverse_util.flatten_dict(variables["params"])
    return [path[:-1] for path in flat if path[-1] == "kernel" and path[:-1] not in layers]


def largest(kernel: np.ndarray) -> np.ndarray:
    """Return the largest magnitude of each output channel of a kernel, `[channels]`."""
    magnitudes: np.ndarray = np.abs(kernel).reshape(-1, kernel.shape[-1]).max(0)
    return magnitudes


def can_equalise(block: arch.BlockSpec) -> bool:
    """Return whether `equalise` leaves what the block computes as it is.

    Channels are scaled between layers, so that the activation must commute with a scale: ReLU
    does, ReLU6 does not.
    """
    is_chain = (block.block, block.spatial_conv) == ("inverted_residual", "depthwise")
    is_closed = not block.squeeze_excite and block.shortcut != "expansion"
    return is_chain and is_closed and block.activation == "relu"


def equalise(variables: Mapping[str, Any], spec: arch.NetworkSpec) -> dict[str, Any]:
    """Scale channels between a block's layers, until each has one range before and behind.

    Source: Nagel et al. 2019, arXiv 1906.04721, section 4.1, without the absorption of biases.

    Args:
      variables: as `fold` returns them.
      spec: the network; blocks that `can_equalise` denies stay as they are.
    """
    flat = traverse_util.flatten_dict(variables)
    for name, block in zip(spec.parts[1:], spec.blocks, strict=False):
        if not can_equalise(block):
            continue
        chain = [
            layer
            for layer in ("expand", "depthwise", "project")
            if ("params", name, layer, "kernel") in flat
        ]
        while _equalised_once(flat, name, chain) > 1e-3:
            pass
    equalised: dict[str, Any] = traverse_util.unflatten_dict(flat)
    return equalised


def _equalised_once(flat: dict[Path, Any], block: str, chain: Sequence[str]) -> float:
    """Equalise pairs of layers in place; return the largest change, a logarithm."""
    changed = 0.0
    for first, second in itertools.pairwise(chain):
        before, behind = (("params", block, layer, "kernel") for layer in (first, second))
        bias = ("params", block, f"{first}{_NORM}", "bias")
        is_depthwise = flat[behind].ndim == 3
        ranges = largest(flat[before]), largest(flat[behind] if is_depthwise else flat[behind].T)
        used = np.minimum(*ranges) > 0
        scale = np.sqrt(np.where(used, ranges[0], 1) / np.where(used, ranges[1], 1))
        flat[before], flat[bias] = flat[before] / scale, flat[bias] / scale
        flat[behind] = flat[behind] * (scale if is_depthwise else scale[:, None])
        changed = max(changed, float(np.abs(np.log(scale)).max()))
    return changed


def observe(
    network: Network, variables: Mapping[str, Any], knobs: Knobs | None, images: Array
) -> dict[Path, list[Array]]:
    """Return the inputs of each call of all layers in inference mode, by path.

    Args:
      network: of the layers.
      variables: its variables.
      knobs: override those of its spec, if not None.
      images: scaled, `[batch, height, width, channels]`.
    """
    seen: dict[Path, list[Array]] = {}

    def watch(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if _is_layer(context):
            seen.setdefault(context.module.path, []).append(args[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        network.apply(variables, images, knobs=knobs)
    return seen


def quantised_inputs(formats: Mapping[Path, Format]) -> AbstractContextManager[None]:
    """Round the inputs of layers in networks that are applied in this context."""

    def replace(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if _is_layer(context):
            x, *others = args
            args = (quantise(x, formats[context.module.path]), *others)
        return call(*args, **kwargs)

    return nn.intercept_methods(replace)


def quantised_kernels(
    variables: Mapping[str, Any], formats: Mapping[Path, Format]
) -> dict[str, Any]:
    """Return variables with the kernels of layers rounded."""
    flat = traverse_util.flatten_dict(variables)
    for path, format in formats.items():
        kernel = ("params", *path, "kernel")
        flat[kernel] = quantise(flat[kernel], format)
    rounded: dict[str, Any] = traverse_util.unflatten_dict(flat)
    return rounded


def _is_layer(context: nn.module.InterceptorContext) -> bool:
    return context.method_name == "__call__" and isinstance(context.module, LAYERS)


class Ranges:
    """The ranges of a tensor over calibration images."""

    def __init__(self) -> None:
        self._low, self._high = math.inf, -math.inf
        self._percentiles = np.zeros(2)
        self._images = 0

    def add(self, values: np.ndarray) -> None:
        """Add the tensor's values for some images, `[images, ...]`."""
        if not len(values):
            return
        rows = values.reshape(len(values), -1)
        self._low, self._high = min(self._low, rows.min()), max(self._high, rows.max())
        ends = np.percentile(rows, (100 - PERCENTILE, PERCENTILE), axis=1)
        self._percentiles += ends.sum(1)
        self._images += len(rows)

    @property
    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return float(self._low), float(self._high)

    @property
    def percentiles(self) -> tuple[float, float]:
        """The means over images of an image's percentiles, `100 - PERCENTILE` and `PERCENTILE`."""
        low, high = self._percentiles / self._images
        return float(low), float(high)
