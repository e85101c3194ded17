"""Expansion and spatial convolution in one (Gupta and Akin 2020; Tan and Le 2021)."""

import flax.linen as nn

from mnv2_jax.nn.blocks.base import Array, Block, Carry


class Fused(Block):
    """The fused inverted residual: a full convolution expands, a pointwise one projects.

    Source: Gupta and Akin 2020, arXiv 2003.02838, section 3; EfficientNetV2 (Tan and Le 2021,
    arXiv 2104.00298), Figure 2.

    Expansion 1 keeps both layers; EfficientNetV2 omits the second. The shortcut between expansions
    joins the outputs of the full convolutions.
    """

    @nn.compact
    def __call__(self, x: Array, carry: Carry, *, train: bool) -> tuple[Array, Carry]:
        """See `mnv2_jax.nn.blocks.base.Block`."""
        spec = self.spec
        channels = spec.expanded_channels(x.shape[-1])
        expanded = self.conv(x, channels, "expand", train, spec.activation)
        expanded = self.add_expanded(x, expanded, carry)
        y = self.squeeze_excite(expanded)
        y = self.pointwise(y, spec.out_channels, "project", train)
        return self.join(x, y, carry), carry._replace(expanded=expanded)
