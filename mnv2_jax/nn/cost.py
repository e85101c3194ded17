"""What a network costs, found by running it on shapes alone and asking every leaf layer.

Nothing is written down per block: a new block's cost is counted because its layers are called.
"""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mnv2_jax import arch
from mnv2_jax.nn.network import Network


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one layer for one image.

    Attributes:
      path: the module names from the network down, joined by "/".
      kind: the layer's class.
      output: the shape it gives, without the batch.
      params: trainable parameters.
      statistics: running BatchNorm moments.
      madds: multiply-adds of convolutions and of the classifier; normalisation, biases,
        activations and pooling count nothing, as in the paper's Table 4.
    """

    path: str
    kind: str
    output: tuple[int, ...]
    params: int
    statistics: int
    madds: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a network for one image: its layers, in the order they run."""

    layers: tuple[LayerCost, ...]

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return sum(layer.params for layer in self.layers)

    @property
    def params_with_statistics(self) -> int:
        """Trainable parameters and running BatchNorm moments."""
        return self.params + sum(layer.statistics for layer in self.layers)

    @property
    def madds(self) -> int:
        """Multiply-adds."""
        return sum(layer.madds for layer in self.layers)


def network_cost(spec: arch.NetworkSpec) -> Cost:
    """Counts parameters and multiply-adds of a network, layer by layer, computing nothing.

    A leaf is any module that owns parameters and has no module inside. One with a `kernel` is a
    convolution or a matrix product, and uses every weight of it once per output position: that
    holds for full, pointwise and depthwise convolutions and for dense layers alike.
    """
    found: list[LayerCost] = []

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = call(*args, **kwargs)
        module: nn.Module = context.module
        own = module.variables.get("params", {})
        if context.method_name == "__call__" and own and not _has_children(own):
            kernel = own.get("kernel")
            positions = math.prod(result.shape[1:-1])
            found.append(
                LayerCost(
                    path="/".join(module.path),
                    kind=type(module).__name__,
                    output=tuple(result.shape[1:]),
                    params=_size(own),
                    statistics=_size(module.variables.get("batch_stats", {})),
                    madds=0 if kernel is None else math.prod(kernel.shape) * positions,
                )
            )
        return result

    network = Network(spec)
    images = jax.ShapeDtypeStruct((1, *spec.input_shape), jnp.float32)
    with nn.intercept_methods(record):
        jax.eval_shape(network.init, jax.random.key(0), images)
    return Cost(tuple(found))


def _has_children(collection: Any) -> bool:
    return any(isinstance(value, dict) for value in collection.values())


def _size(collection: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(collection))
