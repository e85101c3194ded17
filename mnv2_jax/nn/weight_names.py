"""Places of a MobileNetV2's tensors in the files of torchvision, timm and Keras.

Sources: torchvision/models/mobilenetv2.py, timm/models/_efficientnet_blocks.py and
keras/src/applications/mobilenet_v2.py.

A file's tensor and ours differ in the order of axes and in axes of length 1. What lies between is
Keras's shape: `[k, k, in, out]`, depthwise `[k, k, channels, 1]`, dense `[in, out]`.
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
    """A tensor of the network and its counterpart in a file.

    Attributes:
      path: collection, modules and name in the network's variables.
      name: the counterpart's name in the file.
      keras_shape: its shape with the axes in Keras's order.
      axes: the counterpart's axes as positions among Keras's.
    """

    path: tuple[str, ...]
    name: str
    keras_shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the counterpart."""
        return tuple(self.keras_shape[axis] for axis in self.axes)


PYTORCH_AXES = {
    "conv": (3, 2, 0, 1),
    "pointwise": (3, 2, 0, 1),
    "depthwise": (2, 3, 0, 1),
    "dense": (1, 0),
}
"""PyTorch's axes of a kernel as positions among Keras's."""


def layers(spec: arch.NetworkSpec) -> list[Layer]:
    """Return the layers of a MobileNetV2 that have weights, in the order they run.

    Raises:
      ValueError: the network is none: it has another block, squeeze-excitation, full convolutions
        in its blocks or no last convolution.
    """
    for number, block in enumerate(spec.blocks, start=1):
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
    if not spec.head_channels:
        raise ValueError("head_channels=0: MobileNetV2 has a last convolution")
    convolutions = [Layer(("stem",), "conv")]
    for number, block in enumerate(spec.blocks, start=1):
        name = f"block_{number:02}"
        if block.expansion != 1:
            convolutions.append(Layer((name, "expand"), "pointwise"))
        convolutions.append(Layer((name, "depthwise"), "depthwise"))
        convolutions.append(Layer((name, "project"), "pointwise"))
    convolutions.append(Layer(("head",), "pointwise"))
    found = []
    for layer in convolutions:
        *parents, own = layer.path
        found += [layer, Layer((*parents, f"{own}_norm"), "norm")]
    return [*found, Layer(("classifier",), "dense")]


def torchvision_names(spec: arch.NetworkSpec) -> list[str]:
    """Torchvision's module for each of `layers(spec)`."""
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
    """Timm's module for each of `layers(spec)`, given the names of all tensors of its file.

    Timm numbers blocks within stages, which a `NetworkSpec` does not tell apart but the names do.
    A block that the file lacks is given the name "blocks", which no tensor has.
    """
    found = {re.match(r"blocks\.(\d+)\.(\d+)\.", name) for name in tensors}
    places = sorted({(int(match[1]), int(match[2])) for match in found if match})
    prefixes = [f"blocks.{stage}.{index}" for stage, index in places]
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
    """Return the tensors of a layer, in Keras's order: collection, name here, name in PyTorch."""
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
    found: list[Layer], names: list[str], variables: Mapping[tuple[str, ...], Any]
) -> Iterator[Slot]:
    """Return the tensors of a state dict, whose modules for the layers `found` are `names`."""
    for layer, module in zip(found, names, strict=True):
        own = [f"{module}.{name}" for _, _, name in parameters(layer)]
        yield from _slots(layer, own, variables, PYTORCH_AXES)


def keras_slots(
    layer: Layer, names: list[str], variables: Mapping[tuple[str, ...], Any]
) -> Iterator[Slot]:
    """Return the weights `names` of a layer of Keras."""
    return _slots(layer, names, variables, {})


def _slots(
    layer: Layer,
    names: list[str],
    variables: Mapping[tuple[str, ...], Any],
    axes: Mapping[str, tuple[int, ...]],
) -> Iterator[Slot]:
    for (collection, own, _), name in zip(parameters(layer), names, strict=True):
        path = (collection, *layer.path, own)
        shape = variables[path].shape
        if own == "kernel":
            if layer.kind == "pointwise":
                shape = (1, 1, *shape)
            elif layer.kind == "depthwise":
                shape = (*shape, 1)
            yield Slot(path, name, shape, axes.get(layer.kind, tuple(range(len(shape)))))
        else:
            yield Slot(path, name, shape, (0,))
