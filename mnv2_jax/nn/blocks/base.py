"""Base of all blocks: the contract, the knobs of lanes, and the parts that blocks share."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from mnv2_jax import arch
from mnv2_jax.nn import layers, projections

Array = jax.Array

PROJECTION = "at_projection"
"""The name that a block sows its projection under: the tensors before and after the activation, and
the activation's bounds, if it has any."""


class Knobs(NamedTuple):
    """Knobs that a compiled program takes as arguments, so that its lanes may differ in them.

    All are float32 scalars.

    Attributes:
      low: the projection's lower bound; see `mnv2_jax.arch.Clip`.
      high: its upper bound.
      slope: its slope beyond the bounds. Blocks whose spec's projection has slope 0 do not read it:
        that makes a training step 6 to 9 % faster on CPU.
      shortcut: the weight of the shortcut between bottlenecks, 1 or 0.
    """

    low: Array | np.float32
    high: Array | np.float32
    slope: Array | np.float32
    shortcut: Array | np.float32

    @classmethod
    def from_names(cls, projection: str, shortcut: str) -> "Knobs":
        """Return the knobs for two values of `mnv2_jax.arch.BlockSpec`.

        A projection that is a function is no knob: it gets the numbers of the linear one, which
        blocks with a function do not read.
        """
        clip = arch.CLIPS.get(projection, arch.CLIPS["linear"])
        low, high, slope = map(np.float32, clip)
        return cls(low, high, slope, np.float32(shortcut == "bottleneck"))


class Carry(NamedTuple):
    """Values that blocks pass on beside the activations.

    Attributes:
      expanded: the last block's expanded tensor, `[batch, height, width, channels]`, for the
        shortcut between expansions; None before the first block that expands.
      knobs: if not None, override projection and shortcut of every block's spec, but for a
        projection that is a function.
    """

    expanded: Array | None = None
    knobs: Knobs | None = None


class Block(nn.Module):
    """Base class of blocks. A subclass defines `__call__`, from the parts below or its own.

    `block(x, carry, train=...)` maps `x` `[batch, height, width, in]` to
    `[batch, ceil(height / stride), ceil(width / stride), out]` and returns it with the carry. Every
    submodule has a `name`, so that the names of parameters stay.

    Attributes:
      spec: the knobs.
      conventions: padding, normalisation and initial weights.
      axis_name: to be passed to every `mnv2_jax.nn.layers.BatchNorm` of the subclass.
    """

    spec: arch.BlockSpec
    conventions: arch.Conventions = arch.CONVENTIONS["default"]
    axis_name: str | None = None

    # `nowrap` hides methods from Flax, which captures intermediates by the names of methods and
    # submodules, and some are the same.

    @nn.nowrap
    def pointwise(
        self, x: Array, channels: int, name: str, train: bool, activation: str | None = None
    ) -> Array:
        """Apply a 1x1 convolution to `channels`, BatchNorm and, unless None, the activation."""
        layer = layers.Pointwise(channels, self.conventions.initializer, name=name)
        return layers.conv_norm_act(layer, x, self.conventions, self.axis_name, train, activation)

    @nn.nowrap
    def depthwise(
        self,
        x: Array,
        name: str,
        train: bool,
        activation: str | None = None,
        *,
        kernel_size: int | None = None,
        stride: int | None = None,
    ) -> Array:
        """Apply a depthwise convolution, BatchNorm and activation; None is the spec's."""
        layer = layers.Depthwise(
            kernel_size or self.spec.kernel_size,
            stride or self.spec.stride,
            self.conventions.padding,
            self.conventions.initializer,
            name=name,
        )
        return layers.conv_norm_act(layer, x, self.conventions, self.axis_name, train, activation)

    @nn.nowrap
    def conv(
        self, x: Array, channels: int, name: str, train: bool, activation: str | None = None
    ) -> Array:
        """Apply a full convolution to `channels`, BatchNorm and activation."""
        layer = layers.Conv(
            channels,
            self.spec.kernel_size,
            self.spec.stride,
            self.conventions.padding,
            self.conventions.initializer,
            name=name,
        )
        return layers.conv_norm_act(layer, x, self.conventions, self.axis_name, train, activation)

    @nn.nowrap
    def squeeze_excite(self, x: Array) -> Array:
        """Gate `x` by its own mean if the spec has squeeze-and-excitation."""
        if not self.spec.squeeze_excite:
            return x
        gate = layers.SqueezeExcite(
            self.spec.divisor, self.conventions.initializer, name="squeeze_excite"
        )
        return gate(x)

    @nn.nowrap
    def add_expanded(self, x: Array, expanded: Array, carry: Carry) -> Array:
        """Add the last block's expanded tensor if the spec's shortcut is between expansions.

        Only where the block keeps the shape, and both expanded tensors have the same.
        """
        before = carry.expanded
        if self.spec.shortcut != "expansion" or before is None or not self._keeps_shape(x):
            return expanded
        return expanded + before if before.shape == expanded.shape else expanded

    @nn.nowrap
    def project(self, y: Array, carry: Carry) -> Array:
        """Apply the projection's activation, by the carry's knobs or the spec's."""
        projected = self._projected(y, carry)
        # Nothing is stored, or traced, unless the collection is mutable, as in `nn.probes`.
        self.sow("intermediates", PROJECTION, (y, projected, self._bounds(carry)))
        return projected

    @nn.nowrap
    def _bounds(self, carry: Carry) -> tuple[Any, Any] | None:
        """Return the bounds of the projection's activation; None if it is a function."""
        if self.spec.projection not in arch.CLIPS:
            return None
        clip = carry.knobs or arch.CLIPS[self.spec.projection]
        return clip.low, clip.high

    @nn.nowrap
    def _projected(self, y: Array, carry: Carry) -> Array:
        knobs, own = carry.knobs, self.spec.projection
        if knobs is None or own not in arch.CLIPS:
            return projections.apply(own, y)
        if not arch.CLIPS[own].slope:
            return layers.clip(y, knobs.low, knobs.high)
        return layers.leaky_clip(y, knobs.low, knobs.high, knobs.slope)

    @nn.nowrap
    def add_input(self, x: Array, y: Array, carry: Carry) -> Array:
        """Add the input if the block keeps its shape."""
        if not self._keeps_shape(x):
            return y
        knobs = carry.knobs or Knobs.from_names(self.spec.projection, self.spec.shortcut)
        return y + knobs.shortcut.astype(x.dtype) * x

    @nn.nowrap
    def join(self, x: Array, y: Array, carry: Carry) -> Array:
        """Apply the projection's activation and add the input, in the order of their placement."""
        if self.spec.projection_placement == "after":
            return self.project(self.add_input(x, y, carry), carry)
        return self.add_input(x, self.project(y, carry), carry)

    @nn.nowrap
    def _keeps_shape(self, x: Array) -> bool:
        return self.spec.stride == 1 and x.shape[-1] == self.spec.out_channels
