"""A plain convolution, the baseline of the separable one (Howard et al. 2017, arXiv 1704.04861)."""

import flax.linen as nn

from mnv2_jax.nn.blocks.base import Array, Block, Carry


class Standard(Block):
    """One full convolution, normalised and activated, which MobileNetV1 factorises.

    Source: Howard et al. 2017, arXiv 1704.04861, section 3.1 and Table 4 ("Conv MobileNet").
    """

    @nn.compact
    def __call__(self, x: Array, carry: Carry, *, train: bool) -> tuple[Array, Carry]:
        """See `mnv2_jax.nn.blocks.base.Block`."""
        spec = self.spec
        y = self.conv(x, spec.out_channels, "conv", train, spec.activation)
        return self.add_input(x, y, carry), carry
