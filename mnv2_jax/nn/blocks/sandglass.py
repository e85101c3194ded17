"""MobileNeXt's block (Zhou et al. 2020, arXiv 2007.02269)."""

import flax.linen as nn

from mnv2_jax.nn.blocks.base import Array, Block, Carry


class Sandglass(Block):
    """MobileNeXt's block: the shortcut and both depthwise convolutions are at the wide ends.

    Source: Zhou et al. 2020, arXiv 2007.02269, section 3.2, Table 1.

    The narrow tensor, of `in / expansion` channels, is the bottleneck: the projection's activation
    (none in the paper) acts there, and its placement makes no difference.
    """

    projection_layer = "reduce"

    @nn.compact
    def __call__(self, x: Array, carry: Carry, *, train: bool) -> tuple[Array, Carry]:
        """See `mnv2_jax.nn.blocks.base.Block`."""
        spec = self.spec
        y = self.depthwise(x, "depthwise", train, spec.activation, stride=1)
        y = self.squeeze_excite(y)
        y = self.pointwise(y, spec.reduced_channels(x.shape[-1]), "reduce", train)
        y = self.project(y, carry)
        y = self.pointwise(y, spec.out_channels, "expand", train, spec.activation)
        y = self.depthwise(y, "depthwise_out", train)
        return self.add_input(x, y, carry), carry
