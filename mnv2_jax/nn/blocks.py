"""The blocks a network is made of. A new variant is one module here and one line in `BLOCKS`.

A block is a Flax module with the attributes `spec` and `padding` and one contract:
`block(x, carry, train=...) -> (x, carry)`, with `x` `[batch, height, width, channels]`.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np

from mnv2_jax import arch
from mnv2_jax.nn import layers

Array = jax.Array


class Knobs(NamedTuple):
    """The knobs of a block that a compiled program takes as arguments, so that lanes may differ.

    Attributes:
      low: float32 scalar, the projection's lower bound; see `mnv2_jax.arch.PROJECTIONS`.
      high: float32 scalar, its upper bound.
      shortcut: float32 scalar, the weight of the shortcut between bottlenecks: 1 or 0.
    """

    low: Array | np.float32
    high: Array | np.float32
    shortcut: Array | np.float32

    @classmethod
    def of(cls, projection: str, shortcut: str) -> "Knobs":
        """The knobs for values as `mnv2_jax.arch.BlockSpec` names them."""
        low, high = arch.PROJECTIONS[projection]
        return cls(np.float32(low), np.float32(high), np.float32(shortcut == "bottleneck"))


class Carry(NamedTuple):
    """What travels along the network beside the activations.

    Attributes:
      expanded: the last block's expanded tensor, `[batch, height, width, channels]`, which the
        shortcut between expansions adds; None before the first block.
      knobs: overrides projection and shortcut of every block's spec, unless None.
    """

    expanded: Array | None = None
    knobs: Knobs | None = None


class InvertedResidual(nn.Module):
    """MobileNetV2's bottleneck: expand, filter depthwise, project (Table 1; Figure 3).

    Expansion 1 has no expansion layer. The projection's activation acts on the normalised
    projection, before the shortcut is added. A shortcut exists where the stride is 1 and the
    channels stay the same; the one between expansions also needs the block before to have
    expanded to the same shape, which leaves 5 in MobileNetV2 where bottlenecks have 10.
    """

    spec: arch.BlockSpec
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Array, carry: Carry, *, train: bool) -> tuple[Array, Carry]:
        """Maps `[batch, height, width, in]` to `[batch, ceil(h / s), ceil(w / s), out]`."""
        spec = self.spec
        knobs = carry.knobs or Knobs.of(spec.projection, spec.shortcut)
        keeps_shape = spec.stride == 1 and x.shape[-1] == spec.out_channels

        expanded = x
        if spec.expansion != 1:
            channels = spec.expanded_channels(x.shape[-1])
            expanded = layers.Pointwise(channels, name="expand")(x)
            expanded = layers.BatchNorm(name="expand_norm")(expanded, train=train)
            expanded = layers.activate(spec.activation, expanded)
        before = carry.expanded
        if spec.shortcut == "expansion" and keeps_shape and before is not None:
            expanded = expanded + before if before.shape == expanded.shape else expanded

        y = layers.Depthwise(spec.kernel_size, spec.stride, self.padding, name="depthwise")(
            expanded
        )
        y = layers.BatchNorm(name="depthwise_norm")(y, train=train)
        y = layers.activate(spec.activation, y)

        y = layers.Pointwise(spec.out_channels, name="project")(y)
        y = layers.BatchNorm(name="project_norm")(y, train=train)
        y = layers.clip(y, knobs.low, knobs.high)
        if keeps_shape:
            y = y + knobs.shortcut * x
        return y, carry._replace(expanded=expanded)


BLOCKS: dict[str, type[nn.Module]] = {
    "inverted_residual": InvertedResidual,
}
