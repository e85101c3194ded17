"""Network of blocks, built from its specification."""

import functools
import re
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mnv2_jax import arch, user_code
from mnv2_jax.nn import initial, initializers, layers, projections
from mnv2_jax.nn.blocks import block_class
from mnv2_jax.nn.blocks.base import Block, Carry, Knobs

Array = jax.Array


@arch.checked_arguments
class Network(nn.Module):
    """Stem convolution, blocks, last pointwise convolution, average pooling, classifier (Table 2).

    Stem and last convolution end in ReLU6, whatever the blocks' activation.

    Attributes:
      spec: the specification.
      axis_name: the mapped axis along which devices hold parts of one batch, or None; see
        `mnv2_jax.nn.layers.BatchNorm`.
      norms_from: the first of `spec.parts` whose BatchNorms use the batch's moments in training;
        those before it, or all if None, stay in inference mode.

    Raises:
      ValueError: a block or projection does not exist.
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
          inputs: scaled images, or features if `only` is "classifier".
          train: use and update BatchNorm's moments, and drop features by the random stream
            "dropout".
          knobs: override projection and shortcut of every block's spec, those of its own block or,
            as scalars, of all.
          only: return the classifier's input, `[batch, features]`, or start from it.
        """
        features = inputs if only == "classifier" else self._features(inputs, train, knobs)
        if only == "features":
            return features
        conventions = self.spec.conventions
        dropout = nn.Dropout(conventions.dropout, deterministic=not train, name="dropout")
        init = initializers.CLASSIFIERS[conventions.initializer]
        return layers.Dense(self.spec.classes, init, name="classifier")(dropout(features))

    def _features(self, images: Array, train: bool, knobs: Knobs | None) -> Array:
        spec = self.spec
        conventions = spec.conventions
        parts = spec.parts
        updated = () if self.norms_from is None else parts[parts.index(self.norms_from) :]

        def conv_norm_act(layer: nn.Module, x: Array) -> Array:
            batch_moments = train and layer.name in updated
            return layers.conv_norm_act(
                layer, x, conventions, self.axis_name, batch_moments, "relu6"
            )

        stem = layers.Conv(
            spec.stem_channels,
            stride=spec.stem_stride,
            padding=conventions.padding,
            initializer=conventions.initializer,
            name="stem",
        )
        x = conv_norm_act(stem, jnp.asarray(images))
        carry = Carry()
        for place, (name, block_spec) in enumerate(zip(parts[1:], spec.blocks, strict=False)):
            projections.check_name(block_spec.projection)
            block_type = block_class(block_spec.block)
            block = block_type(block_spec, conventions, self.axis_name, name=name)
            own = None if knobs is None else knobs.at(place, len(spec.blocks))
            x, carry = _run(block, x, carry._replace(knobs=own), train and name in updated)
        if spec.head_channels:
            head = layers.Pointwise(spec.head_channels, conventions.initializer, name="head")
            x = conv_norm_act(head, x)
        return x.mean((1, 2))


def _run(block: Block, x: Array, carry: Carry, train: bool) -> tuple[Array, Carry]:
    """Run a block. Raise ValueError with the block's name and line if it fails."""
    try:
        result = block(x, carry, train=train)
    except Exception as error:
        fault = user_code.fault(error, type(block))
        raise ValueError(f"block={block.spec.block!r}: {fault}") from error
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Carry)):
        raise ValueError(
            f"block={block.spec.block!r}: returns a {type(result).__name__}; expected a pair, "
            f"(x, carry)"
        )
    return result


def initialise(spec: arch.NetworkSpec, seed: int = 0) -> dict[str, Any]:
    """Draw a network's initial variables, those of `Network(spec).init` for `jax.random.key(seed)`.

    The network is traced once for all seeds and not run: seconds, where `init` takes minutes for a
    large one.

    Returns:
      `{"params": ..., "batch_stats": ...}`, float32 arrays on the host.

    Raises:
      ValueError: a block or projection does not exist or fails.
    """
    result: dict[str, Any] = _initialiser(spec)(seed)
    return result


def with_projection_bias(
    variables: Mapping[str, Any], spec: arch.NetworkSpec, bias: float
) -> dict[str, Any]:
    """Return variables drawn for projections without an initial bias, with one.

    Blocks without a projection stay as they are.

    Args:
      variables: a tree, as of `initialise`.
      spec: the network; its blocks have no initial bias.
      bias: see `mnv2_jax.arch.BlockSpec.projection_bias`.
    """
    flat = traverse_util.flatten_dict(variables)
    for part, block in zip(spec.parts[1:], spec.blocks, strict=False):
        norm = f"{block_class(block.block).projection_layer}_norm"
        path = ("params", part, norm, "bias")
        if path in flat:
            flat[path] = flat[path] + np.float32(bias)
    result: dict[str, Any] = traverse_util.unflatten_dict(flat)
    return result


@functools.lru_cache(maxsize=8)
def _initialiser(spec: arch.NetworkSpec) -> initial.Initialiser:
    images = np.zeros((1, *spec.input_shape), np.float32)
    return initial.Initialiser(lambda seed: Network(spec).init(jax.random.key(seed), images))


@functools.lru_cache(maxsize=8)
def variable_shapes(spec: arch.NetworkSpec) -> Any:
    """Return the shapes and types of a network's variables, as `jax.ShapeDtypeStruct`."""
    images = jax.ShapeDtypeStruct((1, *spec.input_shape), jnp.float32)
    return jax.eval_shape(Network(spec).init, jax.random.key(0), images)


@functools.cache
def jaxpr_text(spec: arch.NetworkSpec) -> str:
    """Return the jaxpr of a network's initialisation and training pass as text.

    It is equal for networks with the same initial weights and results. Nothing is run.
    """

    def start(key: Array, images: Array) -> Any:
        rngs = {"params": key, "dropout": key}
        return Network(spec).init_with_output(rngs, images, train=True)

    images = jnp.zeros((2, *spec.input_shape))
    traced = jax.make_jaxpr(start)(jax.random.key(0), images)
    constants = [np.asarray(value).tobytes().hex() for value in traced.consts]
    # Not str(), which adds colours on a terminal.
    text = traced.jaxpr.pretty_print(use_color=False)
    # Functions are printed with their memory addresses.
    return re.sub(r"0x[0-9a-f]+", "", "\n".join([text, *constants]))
