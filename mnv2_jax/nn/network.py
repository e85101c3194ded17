"""A network of blocks, built from its specification."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp

from mnv2_jax import arch
from mnv2_jax.nn import initializers, layers
from mnv2_jax.nn.blocks import block_class
from mnv2_jax.nn.blocks.base import Carry, Knobs

Array = jax.Array


class Network(nn.Module):
    """Stem convolution, blocks, last pointwise convolution, average pooling, classifier (Table 2).

    Stem and last convolution end in ReLU6 whatever the blocks' activation is.

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
          train: normalise with the batch's moments and update the running ones; drop features as
            the conventions say, by the random stream "dropout".
          knobs: overrides projection and shortcut of every block's spec.
        """
        spec = self.spec
        ways = spec.conventions

        def normalised(x: Array, layer: nn.Module) -> Array:
            norm = layers.BatchNorm(
                ways.norm_momentum, ways.norm_epsilon, name=f"{layer.name}_norm"
            )
            return layers.activate("relu6", norm(layer(x), train=train))

        x = normalised(
            jnp.asarray(images),
            layers.Conv(
                *(spec.stem_channels, 3, spec.stem_stride, ways.padding, ways.initializer),
                name="stem",
            ),
        )
        carry = Carry(knobs=knobs)
        for number, block_spec in enumerate(spec.blocks, start=1):
            block = block_class(block_spec.kind)(block_spec, ways, name=f"block_{number:02}")
            x, carry = block(x, carry, train=train)
        if spec.head_channels:
            x = normalised(x, layers.Pointwise(spec.head_channels, ways.initializer, name="head"))
        x = nn.Dropout(ways.dropout, deterministic=not train, name="dropout")(x.mean((1, 2)))
        init = initializers.CLASSIFIERS[ways.initializer]
        return layers.Dense(spec.classes, init, name="classifier")(x)


@functools.cache
def program(spec: arch.NetworkSpec) -> str:
    """What a network computes in inference, as text: equal for networks that compute the same.

    Nothing is run. Where a knob changes nothing, a block does not read it.
    """
    network = Network(spec)
    images = jnp.zeros((1, *spec.input_shape))
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    # Functions with gradients of their own are printed with where they lie in memory.
    return re.sub(r"0x[0-9a-f]+", "", str(jax.make_jaxpr(network.apply)(variables, images)))
