"""Base of all blocks: the contract, the knobs of lanes, and the parts that blocks share."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnv2_jax import arch
from mnv2_jax.nn import layers, projections

Array = jax.Array

PROBES, PROJECTION = "probes", "at_projection"
"""The collection and the name that a block sows its projection under: the tensors before and after
the activation, and the activation's bounds, if it has any."""


class Knobs(NamedTuple):
    """Knobs that a compiled program takes as arguments, so that its lanes may differ in them.

    All are float32: scalars, as a block reads them, or arrays `[blocks]` for a network.

    Attributes:
      low: the projection's lower bound; see `mnv2_jax.arch.Clip`.
      high: its upper bound.
      slope: its slope beyond the bounds. Blocks whose spec's projection has slope 0 do not read it:
        that makes a training step 6 to 9 % faster on CPU.
      shortcut: the weight of the shortcut between bottlenecks, 0 if there is none.
    """

    low: Array | np.ndarray | np.float32
    high: Array | np.ndarray | np.float32
    slope: Array | np.ndarray | np.float32
    shortcut: Array | np.ndarray | np.float32

    @classmethod
    def of(cls, block: arch.BlockSpec) -> "Knobs":
        """Return the knobs of a block.

        A projection that is a function is no knob: it gets the numbers of the linear one, which
        blocks with a function do not read.
        """
        weight = block.shortcut_weight if block.shortcut == "bottleneck" else 0.0
        return cls(*map(np.float32, (*(block.clip or arch.CLIPS["linear"]), weight)))

    @classmethod
    def of_blocks(cls, blocks: Sequence[arch.BlockSpec]) -> "Knobs":
        """Return the knobs of a network's blocks, each `[blocks]`."""
        return cls(*map(np.stack, zip(*map(cls.of, blocks), strict=True)))

    def at(self, place: int, blocks: int) -> "Knobs":
        """Return the knobs of the block at `place` of `blocks`; scalars hold for all of them."""
        return Knobs(*(jnp.broadcast_to(knob, (blocks,))[place] for knob in self))


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

    Class attributes:
      projection_layer: the name of the layer whose normalised output the projection activates.
    """

    projection_layer: ClassVar[str] = "project"

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
        bias = self.spec.projection_bias if name == self.projection_layer else 0.0
        return layers.conv_norm_act(
            layer, x, self.conventions, self.axis_name, train, activation, bias
        )

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
        if not self.is_initializing():  # There every collection is mutable; else in `nn.probes`.
            self.sow(PROBES, PROJECTION, (y, projected, self._bounds(carry)))
        return projected

    @nn.nowrap
    def _bounds(self, carry: Carry) -> tuple[Any, Any] | None:
        """Return the bounds of the projection's activation; None if it is a function."""
        clip = self.spec.clip
        return None if clip is None else (carry.knobs or clip)[:2]

    @nn.nowrap
    def _projected(self, y: Array, carry: Carry) -> Array:
        clip = self.spec.clip
        if clip is None:
            return projections.apply(self.spec.projection, y)
        low, high, slope = clip if carry.knobs is None else carry.knobs[:3]
        if not clip.slope:
            return layers.clip(y, low, high)
        return layers.leaky_clip(y, low, high, slope)

    @nn.nowrap
    def add_input(self, x: Array, y: Array, carry: Carry) -> Array:
        """Add the input if the block keeps its shape."""
        if not self._keeps_shape(x):
            return y
        knobs = carry.knobs or Knobs.of(self.spec)
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
