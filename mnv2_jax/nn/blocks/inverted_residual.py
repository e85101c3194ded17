"""MobileNetV2's block (Sandler et al. 2018, arXiv 1801.04381)."""

import flax.linen as nn

from mnv2_jax.nn.blocks.base import Array, Block, Carry


class InvertedResidual(Block):
    """MobileNetV2's bottleneck: expand, filter depthwise, project (Table 1; Figure 3).

    Source: Sandler et al. 2018, arXiv 1801.04381.

    Expansion 1 has no expansion layer; below 1 the first layer narrows, as in the classical
    residual block (section 3.4). The shortcut between expansions exists where the block before
    expanded to the same shape: 5 times in MobileNetV2, which has 10 between bottlenecks. With
    `spatial_conv="standard"` a full convolution of the expanded channels replaces the depthwise
    one.
    """

    @nn.compact
    def __call__(self, x: Array, carry: Carry, *, train: bool) -> tuple[Array, Carry]:
        """See `mnv2_jax.nn.blocks.base.Block`."""
        spec = self.spec
        expanded = x
        if spec.expansion != 1:
            channels = spec.expanded_channels(x.shape[-1])
            expanded = self.pointwise(x, channels, "expand", train, spec.activation)
        expanded = self.add_expanded(x, expanded, carry)
        if spec.spatial_conv == "standard":
            y = self.conv(expanded, expanded.shape[-1], "standard", train, spec.activation)
        else:
            y = self.depthwise(expanded, "depthwise", train, spec.activation)
        y = self.squeeze_excite(y)
        y = self.pointwise(y, spec.out_channels, "project", train)
        return self.join(x, y, carry), carry._replace(expanded=expanded)
