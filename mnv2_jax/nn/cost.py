"""Cost of a network, counted by tracing it and recording every layer that is called.

Blocks declare nothing: a new block is counted by its layers.
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
"""Activations have 16 bits, as in the paper's Table 3."""

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one layer for one image.

    Attributes:
      path: the module names from the network down, joined by "/".
      kind: the name of the layer's class.
      input: the shape of the input, without the batch.
      output: the shape of the output, without the batch.
      kernel: the shape of the kernel; empty if there is none.
      params: number of trainable parameters.
      statistics: number of running BatchNorm moments.
      madds: multiply-adds of convolutions and fully connected layers; normalisation, biases,
        activations and pooling are not counted, as in the paper's Table 4.
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
        """Bytes of the output."""
        return BYTES_PER_VALUE * math.prod(self.output)

    @property
    def role(self) -> str:
        """The kind of convolution by its kernel: "depthwise", "pointwise", "full" or "" (none)."""
        if len(self.kernel) == 3 or (len(self.kernel) == 4 and self.kernel[2] < self.input[-1]):
            return "depthwise"
        if not self.kernel:
            return ""
        return "pointwise" if set(self.kernel[:-2]) <= {1} else "full"


@dataclasses.dataclass(frozen=True)
class Operator:
    """A part of a network of which only input and output are materialised (section 5.1).

    Attributes:
      path: a layer's path, or a block's.
      input: the shape of the input, without the batch.
      output: the shape of the output, without the batch.
      inner: values of inner tensors that exist at the same time.
    """

    path: str
    input: Shape
    output: Shape
    inner: int = 0

    @property
    def activation_bytes(self) -> int:
        """Bytes of input, output and inner values."""
        return BYTES_PER_VALUE * (math.prod(self.input) + math.prod(self.output) + self.inner)


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a network for one image: its layers, in the order in which they return."""

    layers: tuple[LayerCost, ...]

    @property
    def params(self) -> int:
        """Number of trainable parameters."""
        return sum(layer.params for layer in self.layers)

    @property
    def params_with_statistics(self) -> int:
        """Number of trainable parameters and running BatchNorm moments."""
        return self.params + sum(layer.statistics for layer in self.layers)

    @property
    def madds(self) -> int:
        """Multiply-adds."""
        return sum(layer.madds for layer in self.layers)

    @property
    def peak_bytes_by_layer(self) -> int:
        """Peak memory of section 5.1 if every layer is an operator.

        The input that a shortcut keeps is not counted, as in the paper's formula.
        """
        return max(_operator(layer).activation_bytes for layer in self.layers if layer.kernel)

    @property
    def peak_bytes(self) -> int:
        """Peak memory of section 5.1 with the operators of `operators`."""
        return max(operator.activation_bytes for operator in self.operators())

    def operators(self) -> Iterator[Operator]:
        """Yield the operators of section 5.1.

        A block of an optional pointwise, a depthwise and a pointwise convolution is one operator if
        that needs less memory: computed channel by channel, one channel of the expanded tensor and
        one of the filtered tensor exist at a time. In other blocks every convolution is one.
        """
        kernels = (layer for layer in self.layers if layer.kernel)
        for path, group in itertools.groupby(kernels, _block):
            convolutions = list(group)
            operators = [_operator(layer) for layer in convolutions]
            roles = [layer.role for layer in convolutions]
            if roles[-2:] == ["depthwise", "pointwise"] and roles[:-2] in ([], ["pointwise"]):
                first, depthwise, last = convolutions[0], convolutions[-2], convolutions[-1]
                inner = math.prod(depthwise.input[:-1]) + math.prod(depthwise.output[:-1])
                fused = Operator(path, first.input, last.output, inner)
                if fused.activation_bytes < max(each.activation_bytes for each in operators):
                    operators = [fused]
            yield from operators

    def largest_tensors(self) -> dict[int, int]:
        """Return the most channels of a tensor between operators, by resolution (Table 3)."""
        channels: dict[int, int] = {}
        for operator in self.operators():
            for shape in (operator.input, operator.output):
                resolution = shape[0] if len(shape) == 3 else 1
                channels[resolution] = max(channels.get(resolution, 0), shape[-1])
        return dict(sorted(channels.items(), reverse=True))


def _block(layer: LayerCost) -> str:
    return layer.path.partition("/")[0]


def _operator(layer: LayerCost) -> Operator:
    return Operator(layer.path, layer.input, layer.output)


@dataclasses.dataclass(frozen=True)
class Separation:
    """Multiply-adds of a k x k convolution to N channels and of its depthwise separable form.

    Source: Howard et al. 2017, arXiv 1704.04861, section 3.1.

    Attributes:
      path: the layer or layers.
      separable: whether the network has the separable form.
      standard_madds: of the full convolution, for one image.
      separable_madds: of the depthwise and the pointwise convolution together, for one image.
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
    """Return every depthwise convolution with the pointwise one after it, and all full ones."""
    convolutions = [layer for layer in cost.layers if layer.kernel]
    rows = []  # The last layer, the classifier, is neither.
    for layer, following in itertools.pairwise(convolutions):
        feeds = _block(layer) == _block(following) and layer.output == following.input
        if layer.role == "full":
            path, outputs = layer.path, layer.output[-1]
        elif feeds and (layer.role, following.role) == ("depthwise", "pointwise"):
            path = f"{layer.path} + {following.path.rpartition('/')[2]}"
            outputs = following.output[-1]
        else:
            continue
        inputs, taps = layer.input[-1], math.prod(layer.kernel[:2])
        positions = math.prod(layer.output[:-1])
        rows.append(
            Separation(
                path,
                separable=layer.role == "depthwise",
                standard_madds=positions * taps * inputs * outputs,
                separable_madds=positions * (taps * inputs + inputs * outputs),
            )
        )
    return rows


@functools.cache  # Configs ask for the same network again, as does the search for equal cost.
def network_cost(spec: arch.NetworkSpec) -> Cost:
    """Count parameters, multiply-adds and activations of a network, without computing it.

    A layer is any module with parameters of its own. One with a `kernel` and no submodules uses
    every weight once per output position, as full, grouped, pointwise and depthwise convolutions
    and dense layers do.
    """
    images = jax.ShapeDtypeStruct((1, *spec.input_shape), jnp.float32)
    return module_cost(Network(spec), images)


def module_cost(module: nn.Module, *arguments: Any, **options: Any) -> Cost:
    """Return the cost of any module that takes arrays `[1, ...]`; see `network_cost`."""
    layers: list[LayerCost] = []
    seen: set[tuple[str, ...]] = set()

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = call(*args, **kwargs)
        module: nn.Module = context.module
        own = _own(module, "params")
        if context.method_name == "__call__" and own:
            is_leaf = len(own) == len(module.variables.get("params", {}))
            kernel = own["kernel"].shape if is_leaf and "kernel" in own else ()
            output = result[0] if isinstance(result, tuple) else result
            again = module.path in seen
            seen.add(module.path)
            layers.append(
                LayerCost(
                    path="/".join(module.path),
                    kind=type(module).__name__,
                    input=tuple(args[0].shape[1:]),
                    output=tuple(output.shape[1:]),
                    kernel=tuple(kernel),
                    params=0 if again else _size(own),
                    statistics=0 if again else _size(_own(module, "batch_stats")),
                    madds=math.prod(kernel) * math.prod(output.shape[1:-1]) if kernel else 0,
                )
            )
        return result

    with nn.intercept_methods(record):
        jax.eval_shape(lambda *args: module.init(jax.random.key(0), *args, **options), *arguments)
    return Cost(tuple(layers))


def _own(module: nn.Module, collection: str) -> dict[str, Any]:
    """Return the variables of a module without those of its submodules."""
    variables = module.variables.get(collection, {})
    return {name: value for name, value in variables.items() if not isinstance(value, dict)}


def _size(collection: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(collection))
