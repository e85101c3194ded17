"""The classical bottleneck of residual networks (He et al. 2016, arXiv 1512.03385)."""

import flax.linen as nn

from mnv2_jax.nn.blocks.base import Array, Block, Carry


class Bottleneck(Block):
    """Wide, narrow, wide: reduce, filter with a full convolution, widen again.

    Source: He et al. 2016, arXiv 1512.03385, Figure 5 (right); compared in section 3.4 of Sandler
    et al. 2018.

    The narrow tensors have `out_channels / expansion` channels; He et al. have expansion 4. Their
    ReLU after the addition is `projection="relu"`, `projection_placement="after"`. The stride is
    that of the full convolution, as in torchvision's ResNet, not the original. Where the shape
    changes there is no shortcut; He et al. project it.
    """

    @nn.compact
    def __call__(self, x: Array, carry: Carry, *, train: bool) -> tuple[Array, Carry]:
        """See `mnv2_jax.nn.blocks.base.Block`."""
        spec = self.spec
        narrow = spec.reduced_channels(spec.out_channels)
        y = self.pointwise(x, narrow, "reduce", train, spec.activation)
        y = self.conv(y, narrow, "conv", train, spec.activation)
        y = self.squeeze_excite(y)
        y = self.pointwise(y, spec.out_channels, "project", train)
        return self.join(x, y, carry), carry
