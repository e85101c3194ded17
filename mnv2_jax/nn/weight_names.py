"""Names and axes of MobileNetV2's tensors in the files of other libraries.

Sources: torchvision/models/mobilenetv2.py, timm/models/_efficientnet_blocks.py,
transformers/models/mobilenet_v2/modeling_mobilenet_v2.py,
mmpretrain/models/backbones/mobilenet_v2.py, models/imagenet/mobilenetv2.py of
d-li14/mobilenetv2.pytorch, MobileNetV2.py of tonylins/pytorch-mobilenet-v2, and
keras/src/applications/mobilenet_v2.py.

A file's tensor and the network's differ in the order of axes and in axes of length 1. The
intermediate form is Keras's: `[k, k, in, out]`, depthwise `[k, k, channels, 1]`, dense `[in, out]`.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

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


class Contents(NamedTuple):
    """A file's tensors, matched with those of a network.

    Attributes:
      base: those of all layers before the classifier, by name.
      slots: the network's slots for them, and others that the file lacks.
      head: all other tensors, by name.
      modules: names of the layers in `head`.
      axes: see `slots`.
      source: see `mnv2_jax.nn.pretrained.Loaded`.
      conventions: see there.
    """

    base: dict[str, np.ndarray]
    slots: list[Slot]
    head: dict[str, np.ndarray]
    modules: tuple[str, ...]
    axes: Mapping[str, tuple[int, ...]]
    source: str
    conventions: str


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


def torchvision_names(spec: arch.NetworkSpec, tensors: Collection[str] = ()) -> list[str]:
    """Return torchvision's module for each of `layers(spec)` before the classifier."""
    names = ["features.0.0", "features.0.1"]
    for number, block in enumerate(spec.blocks, start=1):
        module = f"features.{number}.conv"
        activated = 1 if block.expansion == 1 else 2
        for index in range(activated):
            names += [f"{module}.{index}.0", f"{module}.{index}.1"]
        names += [f"{module}.{activated}", f"{module}.{activated + 1}"]
    head = f"features.{len(spec.blocks) + 1}"
    return [*names, f"{head}.0", f"{head}.1"]


def _flat_names(spec: arch.NetworkSpec, tensors: Collection[str]) -> list[str]:
    """Return the modules where a block is one list of convolutions, norms and activations."""
    names = ["features.0.0", "features.0.1"]
    for number, block in enumerate(spec.blocks, start=1):
        for index in range(0, 6 if block.expansion == 1 else 9, 3):
            names += [f"features.{number}.conv.{index}", f"features.{number}.conv.{index + 1}"]
    head = "conv" if "conv.0.weight" in tensors else f"features.{len(spec.blocks) + 1}"
    return [*names, f"{head}.0", f"{head}.1"]


def _timm_names(spec: arch.NetworkSpec, tensors: Collection[str]) -> list[str]:
    names = ["conv_stem", "bn1"]
    modules = _numbered(r"(blocks\.\d+\.\d+)\.", tensors, len(spec.blocks))
    for module, block in zip(modules, spec.blocks, strict=False):
        convolutions = ["conv_dw", "conv_pw"]
        if block.expansion != 1:
            convolutions = ["conv_pw", "conv_dw", "conv_pwl"]
        for number, convolution in enumerate(convolutions, start=1):
            names += [f"{module}.{convolution}", f"{module}.bn{number}"]
    return [*names, "conv_head", "bn2"]


def _openmmlab_names(spec: arch.NetworkSpec, tensors: Collection[str]) -> list[str]:
    names = ["conv1.conv", "conv1.bn"]
    modules = _numbered(r"(layer\d+\.\d+)\.", tensors, len(spec.blocks))
    for module, block in zip(modules, spec.blocks, strict=False):
        for index in range(2 if block.expansion == 1 else 3):
            names += [f"{module}.conv.{index}.conv", f"{module}.conv.{index}.bn"]
    return [*names, "conv2.conv", "conv2.bn"]


def _transformers_names(spec: arch.NetworkSpec, tensors: Collection[str]) -> list[str]:
    modules = ["conv_stem.first_conv"]
    for number, block in enumerate(spec.blocks):
        parent = f"layer.{number - 1}" if number else "conv_stem"
        parts = ["expand_1x1", "conv_3x3", "reduce_1x1"]
        modules += [f"{parent}.{part}" for part in parts[block.expansion == 1 :]]
    modules.append("conv_1x1")
    return [f"{module}.{of}" for module in modules for of in ("convolution", "normalization")]


def _numbered(pattern: str, tensors: Collection[str], count: int) -> list[str]:
    """Return modules of a file's blocks, given the names of its tensors.

    Such files number blocks within stages. A `NetworkSpec` has no stages, so the numbers are read
    from the tensors. Blocks missing from the file get the name "blocks", which no tensor has.
    """
    found = {match[1] for name in tensors if (match := re.match(pattern, name))}
    modules = sorted(found, key=lambda module: [int(part) for part in re.findall(r"\d+", module)])
    return modules + ["blocks"] * (count - len(modules))


class Layout(NamedTuple):
    """Names of tensors in state dicts of PyTorch.

    Attributes:
      source: the library.
      conventions: those of its networks, a key of `mnv2_jax.arch.CONVENTIONS`.
      first: the tensor that files are recognised by.
      base: pattern at the begin of the names of all tensors before the classifier.
      names: returns the module for each of `layers(spec)` before the classifier, given the names of
        the file's tensors.
    """

    source: str
    conventions: str
    first: str
    base: str
    names: Callable[[arch.NetworkSpec, Collection[str]], list[str]]

    def holds(self, name: str, prefix: str) -> bool:
        """Return whether a tensor belongs to the base of the network with that prefix."""
        own = name.removeprefix(prefix)
        return name.startswith(prefix) and re.match(self.base, own) is not None


LAYOUTS = (
    Layout(
        "mobilenetv2.pytorch",
        "torchvision",
        "features.1.conv.0.weight",
        r"features\.|conv\.\d",
        _flat_names,
    ),
    Layout("torchvision", "torchvision", "features.0.0.weight", r"features\.", torchvision_names),
    Layout(
        "timm",
        "torchvision",
        "conv_stem.weight",
        r"(conv_stem|conv_head|bn[12]|blocks)\.",
        _timm_names,
    ),
    Layout(
        "transformers",
        "slim",  # Google's weights, and the defaults of MobileNetV2Config.
        "conv_stem.first_conv.convolution.weight",
        r"(conv_stem|layer|conv_1x1)\.",
        _transformers_names,
    ),
    Layout(
        "OpenMMLab",
        "torchvision",
        "conv1.conv.weight",
        r"(conv[12]|layer\d+)\.",
        _openmmlab_names,
    ),
)
"""Of torchvision's and the first one a file has `features.0.0.weight`."""


def find(tensors: Collection[str]) -> list[tuple[Layout, str]]:
    """Return the layouts of the networks in a state dict, each with the prefix of its tensors.

    Prefixes are those of modules that hold the network, such as "module." or "model.backbone.".
    """
    found: dict[str, Layout] = {}
    for layout in reversed(LAYOUTS):
        for name in tensors:
            if f".{name}".endswith(f".{layout.first}"):
                found[name.removesuffix(layout.first)] = layout
    return [(layout, prefix) for prefix, layout in sorted(found.items())]


def keras_names(spec: arch.NetworkSpec) -> list[str]:
    """Return Keras's layer for each of `layers(spec)` before the classifier."""
    names = ["Conv1", "bn_Conv1"]
    for number, block in enumerate(spec.blocks):
        prefix = f"block_{number}" if number else "expanded_conv"
        parts = ["expand", "depthwise", "project"]
        for part in parts[block.expansion == 1 :]:
            names += [f"{prefix}_{part}", f"{prefix}_{part}_BN"]
    return [*names, "Conv_1", "Conv_1_bn"]


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
