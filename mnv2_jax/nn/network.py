"""A network of blocks, built from its specification."""

import functools
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnv2_jax import arch
from mnv2_jax.nn import initializers, layers
from mnv2_jax.nn.blocks import block_class, fault
from mnv2_jax.nn.blocks.base import Block, Carry, Knobs

Array = jax.Array


class Network(nn.Module):
    """Stem convolution, blocks, last pointwise convolution, average pooling, classifier (Table 2).

    Stem and last convolution end in ReLU6 whatever the blocks' activation is.

    Attributes:
      spec: what the network is.
      axis_name: the mapped axis along which devices hold parts of one batch, if they do; see
        `mnv2_jax.nn.layers.BatchNorm`.

    Raises:
      ValueError: a block's kind is not in `mnv2_jax.nn.blocks.BLOCKS`.
    """

    spec: arch.NetworkSpec
    axis_name: str | None = None

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
                *(ways.norm_momentum, ways.norm_epsilon, self.axis_name),
                name=f"{layer.name}_norm",
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
            block = block_class(block_spec.kind)(
                block_spec, ways, self.axis_name, name=f"block_{number:02}"
            )
            x, carry = _run(block, x, carry, train)
            carry = carry._replace(knobs=knobs)  # Whatever a block made of its carry.
        if spec.head_channels:
            x = normalised(x, layers.Pointwise(spec.head_channels, ways.initializer, name="head"))
        x = nn.Dropout(ways.dropout, deterministic=not train, name="dropout")(x.mean((1, 2)))
        init = initializers.CLASSIFIERS[ways.initializer]
        return layers.Dense(spec.classes, init, name="classifier")(x)


def _run(block: Block, x: Array, carry: Carry, train: bool) -> tuple[Array, Carry]:
    """Runs a block; what goes wrong inside is told with the block's name and the line."""
    kind = block.spec.kind
    try:
        result = block(x, carry, train=train)
    except Exception as error:
        raise ValueError(f"block={kind!r}: {fault(error, type(block))}") from error
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Carry)):
        given = type(result).__name__
        raise ValueError(f"block={kind!r}: it gives a {given}; expected a pair, (x, carry)")
    return result


@functools.cache
def program(spec: arch.NetworkSpec) -> str:
    """What a network computes, as text: equal for networks that start and compute the same.

    Nothing is run; the network is traced drawing its weights and in training. Where a knob changes
    nothing, a block does not read it.
    """

    def start(key: Array, images: Array) -> Any:
        rngs = {"params": key, "dropout": key}
        return Network(spec).init_with_output(rngs, images, train=True)

    images = jnp.zeros((2, *spec.input_shape))
    traced = jax.make_jaxpr(start)(jax.random.key(0), images)
    constants = [np.asarray(value).tobytes().hex() for value in traced.consts]
    # As str() would, but for the colours that jax adds on a terminal.
    text = traced.jaxpr.pretty_print(use_color=False)
    # Functions are printed with where they lie in memory.
    return re.sub(r"0x[0-9a-f]+", "", "\n".join([text, *constants]))
