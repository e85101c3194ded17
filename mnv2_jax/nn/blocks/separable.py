"""MobileNetV1's block (Howard et al. 2017, arXiv 1704.04861)."""

import flax.linen as nn

from mnv2_jax.nn.blocks.base import Array, Block, Carry


class Separable(Block):
    """MobileNetV1's depthwise separable convolution: a depthwise one, then a pointwise one.

    Source: Howard et al. 2017, arXiv 1704.04861, section 3.1, Figure 3.

    There is no expansion and no bottleneck: both layers end in the activation, and the projection
    is not read. MobileNetV1 has no shortcuts.
    """

    @nn.compact
    def __call__(self, x: Array, carry: Carry, *, train: bool) -> tuple[Array, Carry]:
        """See `mnv2_jax.nn.blocks.base.Block`."""
        spec = self.spec
        y = self.depthwise(x, "depthwise", train, spec.activation)
        y = self.squeeze_excite(y)
        y = self.pointwise(y, spec.out_channels, "pointwise", train, spec.activation)
        return self.add_input(x, y, carry), carry
