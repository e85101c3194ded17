"""Base of all blocks: the contract, the knobs that lanes may differ in, the parts."""

from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np

from mnv2_jax import arch
from mnv2_jax.nn import layers, projections

Array = jax.Array


class Knobs(NamedTuple):
    """The knobs of a block that a compiled program takes as arguments, so that lanes may differ.

    Attributes:
      low: float32 scalar, the projection's lower bound; see `mnv2_jax.arch.Clip`.
      high: float32 scalar, its upper bound.
      slope: float32 scalar, what is left of a value beyond the bounds. Blocks whose spec's own
        projection has none do not read it: on CPU that takes 6 to 9 % off a training step.
      shortcut: float32 scalar, the weight of the shortcut between bottlenecks: 1 or 0.
    """

    low: Array | np.float32
    high: Array | np.float32
    slope: Array | np.float32
    shortcut: Array | np.float32

    @classmethod
    def from_names(cls, projection: str, shortcut: str) -> "Knobs":
        """Return the knobs for values as `mnv2_jax.arch.BlockSpec` names them.

        A projection that is a function is no knob: its numbers are those of the linear one, and
        blocks whose spec has one do not read them.
        """
        clip = arch.CLIPS.get(projection, arch.CLIPS["linear"])
        low, high, slope = map(np.float32, clip)
        return cls(low, high, slope, np.float32(shortcut == "bottleneck"))


class Carry(NamedTuple):
    """Values that travel along the network beside the activations.

    Attributes:
      expanded: the last block's expanded tensor, `[batch, height, width, channels]`, which the
        shortcut between expansions adds; None before the first block that expands.
      knobs: overrides projection and shortcut of every block's spec, unless None. A projection
        that is a function stays.
    """

    expanded: Array | None = None
    knobs: Knobs | None = None


class Block(nn.Module):
    """The base of every block. A subclass writes `__call__`, of the parts below or of its own.

    `block(x, carry, train=...)` maps `[batch, height, width, in]` to
    `[batch, ceil(height / stride), ceil(width / stride), out]` and gives a pair of that and the
    carry, which it hands on. Every submodule has a `name`, so that parameters keep theirs.

    Attributes:
      spec: what the knobs are set to.
      conventions: padding, normalisation and initial weights.
      axis_name: what a `mnv2_jax.nn.layers.BatchNorm` of one's own is to be given.
    """

    spec: arch.BlockSpec
    conventions: arch.Conventions = arch.CONVENTIONS["default"]
    axis_name: str | None = None

    # Methods are plain functions to Flax: one that it captures what is given by must not be called
    # as a submodule is.

    @nn.nowrap
    def pointwise(
        self, x: Array, channels: int, name: str, train: bool, activation: str | None = None
    ) -> Array:
        """1x1 convolution to `channels`, normalised, then activated unless `activation` is None."""
        layer = layers.Pointwise(channels, self.conventions.initializer, name=name)
        return self._normalised(layer, x, train, activation)

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
        """Depthwise convolution, normalised; kernel and stride are the spec's unless given."""
        layer = layers.Depthwise(
            kernel_size or self.spec.kernel_size,
            stride or self.spec.stride,
            self.conventions.padding,
            self.conventions.initializer,
            name=name,
        )
        return self._normalised(layer, x, train, activation)

    @nn.nowrap
    def conv(
        self, x: Array, channels: int, name: str, train: bool, activation: str | None = None
    ) -> Array:
        """Full convolution of the spec's kernel and stride to `channels`, normalised."""
        layer = layers.Conv(
            channels,
            self.spec.kernel_size,
            self.spec.stride,
            self.conventions.padding,
            self.conventions.initializer,
            name=name,
        )
        return self._normalised(layer, x, train, activation)

    @nn.nowrap
    def squeeze_excite(self, x: Array) -> Array:
        """Gate `x` by its own mean where the spec asks for it."""
        if not self.spec.squeeze_excite:
            return x
        gate = layers.SqueezeExcite(
            self.spec.divisor, self.conventions.initializer, name="squeeze_excite"
        )
        return gate(x)

    @nn.nowrap
    def add_expanded(self, x: Array, expanded: Array, carry: Carry) -> Array:
        """Add the last block's expanded tensor where the spec's shortcut is between expansions.

        It exists where the stride is 1, the channels stay the same and both tensors have one shape.
        """
        before = carry.expanded
        if self.spec.shortcut != "expansion" or before is None or not self._keeps_shape(x):
            return expanded
        return expanded + before if before.shape == expanded.shape else expanded

    @nn.nowrap
    def project(self, y: Array, carry: Carry) -> Array:
        """Return the projection's activation, of the carry's knobs or the spec's."""
        knobs, own = carry.knobs, self.spec.projection
        if knobs is None or own not in arch.CLIPS:
            return projections.apply(own, y)
        if not arch.CLIPS[own].slope:
            return layers.clip(y, knobs.low, knobs.high)
        return layers.leaky_clip(y, knobs.low, knobs.high, knobs.slope)

    @nn.nowrap
    def add_input(self, x: Array, y: Array, carry: Carry) -> Array:
        """Add the input where the stride is 1 and the channels stay the same."""
        if not self._keeps_shape(x):
            return y
        knobs = carry.knobs or Knobs.from_names(self.spec.projection, self.spec.shortcut)
        return y + knobs.shortcut.astype(x.dtype) * x

    @nn.nowrap
    def join(self, x: Array, y: Array, carry: Carry) -> Array:
        """End a bottleneck: apply the projection's activation and the shortcut, as placed."""
        if self.spec.projection_placement == "after":
            return self.project(self.add_input(x, y, carry), carry)
        return self.add_input(x, self.project(y, carry), carry)

    @nn.nowrap
    def _keeps_shape(self, x: Array) -> bool:
        return self.spec.stride == 1 and x.shape[-1] == self.spec.out_channels

    @nn.nowrap
    def _normalised(self, layer: nn.Module, x: Array, train: bool, activation: str | None) -> Array:
        norm = layers.BatchNorm(
            self.conventions.norm_momentum,
            self.conventions.norm_epsilon,
            self.axis_name,
            name=f"{layer.name}_norm",
        )
        y = norm(layer(x), train=train)
        return y if activation is None else layers.activate(activation, y)
