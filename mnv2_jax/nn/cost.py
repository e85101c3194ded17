"""Cost of a network, found by running it on shapes alone and asking every layer.

Nothing is written down per block: a new block's cost is counted because its layers are called.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mnv2_jax import arch
from mnv2_jax.nn.network import Network

BYTES_PER_VALUE = 2
"""Activations are taken to be of 16 bits, as in the paper's Table 3."""

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one layer for one image.

    Attributes:
      path: the module names from the network down, joined by "/".
      kind: the layer's class.
      input: the shape of what it takes, without the batch.
      output: the shape of what it gives, likewise.
      kernel: the shape of its kernel; empty where it has none.
      params: trainable parameters.
      statistics: running BatchNorm moments.
      madds: multiply-adds of convolutions and of fully connected layers; normalisation, biases,
        activations and pooling count nothing, as in the paper's Table 4.
    """

    path: str
    kind: str
    input: Shape
    output: Shape
    kernel: Shape
    params: int
    statistics: int
    madds: int

    @property
    def activation_bytes(self) -> int:
        """Bytes of what it gives."""
        return BYTES_PER_VALUE * math.prod(self.output)

    @property
    def role(self) -> str:
        """Its kind by its kernel: "depthwise", "pointwise", "full" (a larger kernel) or ""."""
        if len(self.kernel) == 3 or (len(self.kernel) == 4 and self.kernel[2] < self.input[-1]):
            return "depthwise"
        if not self.kernel:
            return ""
        return "pointwise" if set(self.kernel[:-2]) <= {1} else "full"


@dataclasses.dataclass(frozen=True)
class Operator:
    """Part of a network computed as one, from a whole input to a whole output (section 5.1).

    Attributes:
      path: a layer's path, or a block's.
      input: the shape of the input, without the batch.
      output: the shape of the output, likewise.
      inner: values of the tensors inside that exist at a time.
    """

    path: str
    input: Shape
    output: Shape
    inner: int = 0

    @property
    def activation_bytes(self) -> int:
        """Bytes of input, output and what exists in between."""
        return BYTES_PER_VALUE * (math.prod(self.input) + math.prod(self.output) + self.inner)


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a network for one image: its layers, in the order they end."""

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

    @property
    def peak_bytes_by_layer(self) -> int:
        """Section 5.1's memory with every layer an operator: the most that input and output take.

        What a shortcut keeps beside its block is not counted, as in the paper's formula.
        """
        convolutions = (layer for layer in self.layers if layer.kernel)
        return max(Operator("", one.input, one.output).activation_bytes for one in convolutions)

    @property
    def peak_bytes(self) -> int:
        """Section 5.1's memory with bottlenecks as `operators` has them."""
        return max(operator.activation_bytes for operator in self.operators())

    def operators(self) -> Iterator[Operator]:
        """Return the network as section 5.1 computes it.

        A block whose convolutions are pointwise (or none), depthwise, pointwise is one operator
        where that takes less: computed channel by channel, no more than one channel of the
        expanded tensor and one of the filtered one exist at a time. Other blocks are as many
        operators as they have convolutions.
        """
        blocks: dict[str, list[LayerCost]] = {}
        for layer in self.layers:
            if layer.kernel:
                blocks.setdefault(layer.path.partition("/")[0], []).append(layer)
        for path, convolutions in blocks.items():
            one_by_one = [Operator(one.path, one.input, one.output) for one in convolutions]
            roles = [layer.role for layer in convolutions]
            if roles[-2:] == ["depthwise", "pointwise"] and roles[:-2] in ([], ["pointwise"]):
                first, filtering, last = convolutions[0], convolutions[-2], convolutions[-1]
                inner = math.prod(filtering.input[:-1]) + math.prod(filtering.output[:-1])
                whole = Operator(path, first.input, last.output, inner)
                if whole.activation_bytes < max(one.activation_bytes for one in one_by_one):
                    one_by_one = [whole]
            yield from one_by_one

    def largest_tensors(self) -> dict[int, int]:
        """Table 3: the most channels that a tensor between operators has, by its resolution."""
        channels: dict[int, int] = {}
        for operator in self.operators():
            for shape in (operator.input, operator.output):
                resolution = shape[0] if len(shape) == 3 else 1
                channels[resolution] = max(channels.get(resolution, 0), shape[-1])
        return dict(sorted(channels.items(), reverse=True))


@dataclasses.dataclass(frozen=True)
class Separation:
    """A k x k convolution to N channels against its depthwise separable form, for one image.

    Source: Howard et al. 2017, arXiv 1704.04861, section 3.1.

    Attributes:
      path: the layers that have it, or would.
      separable: whether the network has the separable form.
      standard_madds: multiply-adds of the full convolution.
      separable_madds: of the depthwise and the pointwise one together.
    """

    path: str
    separable: bool
    standard_madds: int
    separable_madds: int

    @property
    def ratio(self) -> float:
        """Separable to standard, 1/N + 1/k^2."""
        return self.separable_madds / self.standard_madds


def separations(cost: Cost) -> list[Separation]:
    """Every depthwise convolution with the pointwise one after it, and every full convolution."""
    convolutions = [layer for layer in cost.layers if layer.kernel]
    found = []  # The classifier, which comes last, is neither.
    for layer, following in itertools.pairwise(convolutions):
        in_one_block = layer.path.partition("/")[0] == following.path.partition("/")[0]
        feeds_it = in_one_block and layer.output == following.input
        if layer.role == "full":
            found.append(_separation(layer, layer.path, layer.output[-1], separable=False))
        elif (layer.role, following.role, feeds_it) == ("depthwise", "pointwise", True):
            path = f"{layer.path} + {following.path.rpartition('/')[2]}"
            found.append(_separation(layer, path, following.output[-1], separable=True))
    return found


def _separation(layer: LayerCost, path: str, outputs: int, *, separable: bool) -> Separation:
    inputs, taps = layer.input[-1], math.prod(layer.kernel[:2])
    positions = math.prod(layer.output[:-1])
    return Separation(
        path,
        separable,
        standard_madds=positions * taps * inputs * outputs,
        separable_madds=positions * (taps * inputs + inputs * outputs),
    )


@functools.cache  # Configs of several questions, and widths tried for equal cost, come to the same.
def network_cost(spec: arch.NetworkSpec) -> Cost:
    """Count parameters, multiply-adds and activations of a network, computing nothing.

    A layer is any module that owns parameters itself. One with a `kernel` and no module inside is
    a convolution or a matrix product, and uses every weight of it once per output position: that
    holds for full, grouped, pointwise and depthwise convolutions and for dense layers alike.
    """
    images = jax.ShapeDtypeStruct((1, *spec.input_shape), jnp.float32)
    return module_cost(Network(spec), images)


def module_cost(module: nn.Module, *arguments: Any, **options: Any) -> Cost:
    """Return the cost of any module that takes arrays `[1, ...]`; see `network_cost`."""
    found: list[LayerCost] = []
    seen: set[tuple[str, ...]] = set()

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = call(*args, **kwargs)
        module: nn.Module = context.module
        own = _own(module, "params")
        if context.method_name == "__call__" and own:
            is_leaf = len(own) == len(module.variables.get("params", {}))
            kernel = own["kernel"].shape if is_leaf and "kernel" in own else ()
            array = result[0] if isinstance(result, tuple) else result
            again = module.path in seen
            seen.add(module.path)
            found.append(
                LayerCost(
                    path="/".join(module.path),
                    kind=type(module).__name__,
                    input=tuple(args[0].shape[1:]),
                    output=tuple(array.shape[1:]),
                    kernel=tuple(kernel),
                    params=0 if again else _size(own),
                    statistics=0 if again else _size(_own(module, "batch_stats")),
                    madds=math.prod(kernel) * math.prod(array.shape[1:-1]) if kernel else 0,
                )
            )
        return result

    with nn.intercept_methods(record):
        jax.eval_shape(lambda *args: module.init(jax.random.key(0), *args, **options), *arguments)
    return Cost(tuple(found))


def _own(module: nn.Module, collection: str) -> dict[str, Any]:
    """Return the variables of a module that are not those of a module inside."""
    variables = module.variables.get(collection, {})
    return {name: value for name, value in variables.items() if not isinstance(value, dict)}


def _size(collection: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(collection))
