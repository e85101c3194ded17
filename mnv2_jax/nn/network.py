"""A network of blocks, built from its specification."""

import flax.linen as nn
import jax

from mnv2_jax import arch
from mnv2_jax.nn import layers
from mnv2_jax.nn.blocks import BLOCKS, Carry, Knobs

Array = jax.Array


class Network(nn.Module):
    """Stem convolution, blocks, last pointwise convolution, average pooling, classifier (Table 2).

    Attributes:
      spec: what the network is.

    Raises:
      ValueError: a block's kind is not in `mnv2_jax.nn.blocks.BLOCKS`.
    """

    spec: arch.NetworkSpec

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False, knobs: Knobs | None = None) -> Array:
        """Maps images `[batch, height, width, channels]` to logits `[batch, classes]`.

        Args:
          images: scaled to [-1, 1].
          train: normalise with the batch's moments and update the running ones.
          knobs: overrides projection and shortcut of every block's spec.
        """
        spec = self.spec
        stem = layers.Conv(spec.stem_channels, 3, spec.stem_stride, spec.padding, name="stem")
        x = layers.BatchNorm(name="stem_norm")(stem(images), train=train)
        x = layers.activate("relu6", x)
        carry = Carry(knobs=knobs)
        for number, block_spec in enumerate(spec.blocks, start=1):
            block = block_class(block_spec.kind)(
                spec=block_spec, padding=spec.padding, name=f"block_{number:02}"
            )
            x, carry = block(x, carry, train=train)
        x = layers.Pointwise(spec.head_channels, name="head")(x)
        x = layers.activate("relu6", layers.BatchNorm(name="head_norm")(x, train=train))
        return layers.Classifier(spec.classes, name="classifier")(x.mean((1, 2)))


def block_class(kind: str) -> type[nn.Module]:
    """The module of a block by its name in `BLOCKS`.

    Raises:
      ValueError: there is no such block.
    """
    if kind not in BLOCKS:
        raise ValueError(f"block={kind!r}: expected one of {', '.join(BLOCKS)}")
    return BLOCKS[kind]
