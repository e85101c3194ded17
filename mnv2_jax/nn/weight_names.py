"""Names and axes of MobileNetV2's tensors in the files of torchvision, timm and Keras.

Sources: torchvision/models/mobilenetv2.py, timm/models/_efficientnet_blocks.py and
keras/src/applications/mobilenet_v2.py.

A file's tensor and the network's differ in the order of axes and in axes of length 1. The
intermediate form is Keras's: `[k, k, in, out]`, depthwise `[k, k, channels, 1]`, dense `[in, out]`.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from mnv2_jax import arch


class Layer(NamedTuple):
    """A layer with weights.

    Attributes:
      path: the names of its modules, from the network down.
      kind: "conv", "depthwise", "pointwise", "dense" or "norm".
    """

    path: tuple[str, ...]
    kind: str


class Slot(NamedTuple):
    """A tensor of the network and its place in a file.

    Attributes:
      path: collection, modules and name in the network's variables.
      name: in the file.
      keras_shape: its shape with the axes in Keras's order.
      axes: the axes in the file, as positions among Keras's.
    """

    path: tuple[str, ...]
    name: str
    keras_shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the file."""
        return tuple(self.keras_shape[axis] for axis in self.axes)


PYTORCH_AXES = {
    "conv": (3, 2, 0, 1),
    "pointwise": (3, 2, 0, 1),
    "depthwise": (2, 3, 0, 1),
    "dense": (1, 0),
}
"""PyTorch's axes of a kernel, as positions among Keras's."""


def layers(spec: arch.NetworkSpec) -> list[Layer]:
    """Return the layers of a MobileNetV2 that have weights, in the order in which they run.

    Raises:
      ValueError: it is no MobileNetV2: it has another block, squeeze-and-excitation, full
        convolutions in its blocks or no last convolution.
    """
    result: list[Layer] = []

    def add(kind: str, *path: str) -> None:
        *parents, name = path
        result.extend([Layer(path, kind), Layer((*parents, f"{name}_norm"), "norm")])

    add("conv", "stem")
    for number, (part, block) in enumerate(zip(spec.parts[1:], spec.blocks, strict=False), start=1):
        for knob, only in (
            ("block", "inverted_residual"),
            ("squeeze_excite", False),
            ("spatial_conv", "depthwise"),
        ):
            if getattr(block, knob) != only:
                raise ValueError(
                    f"{knob}={getattr(block, knob)!r} in block {number}: only MobileNetV2's "
                    f"weights can be exchanged, which have {knob}={only!r}"
                )
        if block.expansion != 1:
            add("pointwise", part, "expand")
        add("depthwise", part, "depthwise")
        add("pointwise", part, "project")
    if not spec.head_channels:
        raise ValueError("head_channels=0: MobileNetV2 has a last convolution")
    add("pointwise", "head")
    return [*result, Layer(("classifier",), "dense")]


def torchvision_names(spec: arch.NetworkSpec) -> list[str]:
    """Return torchvision's module for each of `layers(spec)`."""
    names = ["features.0.0", "features.0.1"]
    for number, block in enumerate(spec.blocks, start=1):
        module = f"features.{number}.conv"
        activated = 1 if block.expansion == 1 else 2
        for index in range(activated):
            names += [f"{module}.{index}.0", f"{module}.{index}.1"]
        names += [f"{module}.{activated}", f"{module}.{activated + 1}"]
    head = f"features.{len(spec.blocks) + 1}"
    return [*names, f"{head}.0", f"{head}.1", "classifier.1"]


def timm_names(spec: arch.NetworkSpec, tensors: Collection[str]) -> list[str]:
    """Return timm's module for each of `layers(spec)`, given the names of all tensors of its file.

    Timm numbers blocks within stages. A `NetworkSpec` has no stages, so the numbers are read from
    the tensors. Blocks missing from the file get the name "blocks", which no tensor has.
    """
    matches = {re.match(r"blocks\.(\d+)\.(\d+)\.", name) for name in tensors}
    numbers = sorted({(int(match[1]), int(match[2])) for match in matches if match})
    prefixes = [f"blocks.{stage}.{index}" for stage, index in numbers]
    prefixes += ["blocks"] * (len(spec.blocks) - len(prefixes))
    names = ["conv_stem", "bn1"]
    for prefix, block in zip(prefixes, spec.blocks, strict=False):
        convolutions = ["conv_dw", "conv_pw"]
        if block.expansion != 1:
            convolutions = ["conv_pw", "conv_dw", "conv_pwl"]
        for number, convolution in enumerate(convolutions, start=1):
            names += [f"{prefix}.{convolution}", f"{prefix}.bn{number}"]
    return [*names, "conv_head", "bn2", "classifier"]


def parameters(layer: Layer) -> tuple[tuple[str, str, str], ...]:
    """Return a layer's tensors in Keras's order: collection, our name and PyTorch's."""
    if layer.kind == "norm":
        return (
            ("params", "scale", "weight"),
            ("params", "bias", "bias"),
            ("batch_stats", "mean", "running_mean"),
            ("batch_stats", "var", "running_var"),
        )
    kernel = ("params", "kernel", "weight")
    return (kernel, ("params", "bias", "bias")) if layer.kind == "dense" else (kernel,)


def pytorch_slots(
    layers: list[Layer], modules: list[str], variables: Mapping[tuple[str, ...], Any]
) -> Iterator[Slot]:
    """Yield the tensors of a state dict, in which the layers have the names `modules`."""
    for layer, module in zip(layers, modules, strict=True):
        names = [f"{module}.{name}" for _, _, name in parameters(layer)]
        yield from slots(layer, names, variables, PYTORCH_AXES)


def slots(
    layer: Layer,
    names: list[str],
    variables: Mapping[tuple[str, ...], Any],
    axes: Mapping[str, tuple[int, ...]],
) -> Iterator[Slot]:
    """Yield a layer's tensors.

    Args:
      layer: the layer.
      names: of its tensors in the file, in Keras's order.
      variables: the network's, or their shapes, by path.
      axes: those of kernels in the file by kind of layer; Keras's if missing.
    """
    for (collection, own_name, _), name in zip(parameters(layer), names, strict=True):
        path = (collection, *layer.path, own_name)
        shape = variables[path].shape
        if own_name != "kernel":
            yield Slot(path, name, shape, (0,))
            continue
        if layer.kind == "pointwise":
            shape = (1, 1, *shape)
        elif layer.kind == "depthwise":
            shape = (*shape, 1)
        yield Slot(path, name, shape, axes.get(layer.kind, tuple(range(len(shape)))))
