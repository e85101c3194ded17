"""A network of blocks, built from its specification."""

import functools
import re
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnv2_jax import arch, user_code
from mnv2_jax.nn import initial, initializers, layers, projections
from mnv2_jax.nn.blocks import block_class
from mnv2_jax.nn.blocks.base import Block, Carry, Knobs

Array = jax.Array


@arch.checked_arguments
class Network(nn.Module):
    """Stem convolution, blocks, last pointwise convolution, average pooling, classifier (Table 2).

    Stem and last convolution end in ReLU6 whatever the blocks' activation is.

    Attributes:
      spec: what the network is.
      axis_name: the mapped axis along which devices hold parts of one batch, if they do; see
        `mnv2_jax.nn.layers.BatchNorm`.
      norms_from: in training, BatchNorm normalises with the batch's moments from this one of
        `spec.parts` on; before it, and everywhere if None, it stays in inference mode.

    Raises:
      ValueError: there is no such block or projection.
    """

    spec: arch.NetworkSpec
    axis_name: str | None = None
    norms_from: str | None = "stem"

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        *,
        train: bool = False,
        knobs: Knobs | None = None,
        only: Literal["features", "classifier"] | None = None,
    ) -> Array:
        """Map images `[batch, height, width, channels]` to logits `[batch, classes]`.

        Args:
          inputs: images, scaled; for the classifier only, features.
          train: normalise with the batch's moments and update the running ones; drop features as
            the conventions say, by the random stream "dropout".
          knobs: overrides projection and shortcut of every block's spec.
          only: end with the features that the classifier is given, `[batch, features]`; or begin
            with them.
        """
        features = inputs if only == "classifier" else self._features(inputs, train, knobs)
        if only == "features":
            return features
        ways = self.spec.conventions
        kept = nn.Dropout(ways.dropout, deterministic=not train, name="dropout")(features)
        init = initializers.CLASSIFIERS[ways.initializer]
        return layers.Dense(self.spec.classes, init, name="classifier")(kept)

    def _features(self, images: Array, train: bool, knobs: Knobs | None) -> Array:
        spec = self.spec
        ways = spec.conventions
        parts = spec.parts
        moving = () if self.norms_from is None else parts[parts.index(self.norms_from) :]

        def normalised(x: Array, layer: nn.Module) -> Array:
            norm = layers.BatchNorm(
                momentum=ways.norm_momentum,
                epsilon=ways.norm_epsilon,
                axis_name=self.axis_name,
                name=f"{layer.name}_norm",
            )
            y = norm(layer(x), train=train and layer.name in moving)
            return layers.activate("relu6", y)

        x = normalised(
            jnp.asarray(images),
            layers.Conv(
                spec.stem_channels,
                stride=spec.stem_stride,
                padding=ways.padding,
                initializer=ways.initializer,
                name="stem",
            ),
        )
        carry = Carry(knobs=knobs)
        for name, block_spec in zip(parts[1:], spec.blocks, strict=False):
            projections.check_name(block_spec.projection)
            block = block_class(block_spec.block)(block_spec, ways, self.axis_name, name=name)
            x, carry = _run(block, x, carry, train and name in moving)
            carry = carry._replace(knobs=knobs)  # Whatever a block made of its carry.
        if spec.head_channels:
            x = normalised(x, layers.Pointwise(spec.head_channels, ways.initializer, name="head"))
        return x.mean((1, 2))


def _run(block: Block, x: Array, carry: Carry, train: bool) -> tuple[Array, Carry]:
    """Run a block; what goes wrong inside is told with the block's name and the line."""
    own = block.spec.block
    try:
        result = block(x, carry, train=train)
    except Exception as error:
        raise ValueError(f"block={own!r}: {user_code.fault(error, type(block))}") from error
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Carry)):
        given = type(result).__name__
        raise ValueError(f"block={own!r}: it gives a {given}; expected a pair, (x, carry)")
    return result


def initialise(spec: arch.NetworkSpec, seed: int = 0) -> dict[str, Any]:
    """Draw a network's initial variables, those of `Network(spec).init` for `jax.random.key(seed)`.

    The network is traced, once for several seeds, and not run: seconds, where `init` takes minutes
    for a large one.

    Returns:
      `{"params": ..., "batch_stats": ...}`, float32 arrays on the host.

    Raises:
      ValueError: there is no such block or projection, or one fails.
    """
    result: dict[str, Any] = _initialiser(spec)(seed)
    return result


@functools.lru_cache(maxsize=8)
def _initialiser(spec: arch.NetworkSpec) -> initial.Initialiser:
    images = np.zeros((1, *spec.input_shape), np.float32)
    return initial.Initialiser(lambda seed: Network(spec).init(jax.random.key(seed), images))


@functools.lru_cache(maxsize=8)
def variable_shapes(spec: arch.NetworkSpec) -> Any:
    """Return the tree of `jax.ShapeDtypeStruct` that `Network(spec).init` gives arrays of.

    To trace a large network takes a second; nothing is computed.
    """
    images = jax.ShapeDtypeStruct((1, *spec.input_shape), jnp.float32)
    return jax.eval_shape(Network(spec).init, jax.random.key(0), images)


@functools.cache
def jaxpr_text(spec: arch.NetworkSpec) -> str:
    """Return a network's program as text: equal for networks that start and compute the same.

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
