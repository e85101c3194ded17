"""Import of MobileNetV2's weights from other libraries, and export for torchvision.

PyTorch's state dicts are safetensors files, Keras's weights HDF5. Files do not have the knobs
without weights (activation, projection, shortcut), which are not checked.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import numpy as safetensors_numpy

from mnv2_jax import arch, atomic, presets
from mnv2_jax.nn import keras_weights, pytorch_weights, weight_files, weight_names
from mnv2_jax.nn.pytorch_weights import CONVENTIONS_KEY, COUNTER
from mnv2_jax.nn.weight_names import Contents, Layer, Slot

Variables = Mapping[str, Any]

_WIDTHS = (0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.1, 1.2, 1.3, 1.4)
"""Width multipliers of published weights."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Weights read from a file.

    Attributes:
      variables: the tree of `mnv2_jax.nn.network.initialise`, float32.
      source: the library that wrote the file.
      classifier: "loaded", or the reason why it was left fresh.
      conventions: those that the weights were trained under, a key of `mnv2_jax.arch.CONVENTIONS`.
        Under another padding or epsilon the results differ.
      head: names of the file's layers after the base; they may be more than a classifier.
    """

    variables: dict[str, Any]
    source: str
    classifier: str
    conventions: str
    head: tuple[str, ...]


def load(path: Path, spec: arch.NetworkSpec, fresh: Variables) -> Loaded:
    """Read the weights of a MobileNetV2 that `save` wrote, or one of the libraries known.

    These are Keras and those of `mnv2_jax.nn.weight_names.LAYOUTS`. Half precision is widened to
    float32. The classifier stays fresh if the file has none, one with another number of classes or
    another head.

    Args:
      path: a file whose suffix is one of `mnv2_jax.nn.weight_files.SUFFIXES`.
      spec: the network that the weights are for.
      fresh: the variables of `mnv2_jax.nn.network.initialise`; they are not changed.

    Raises:
      ValueError: the network is no MobileNetV2, or the file does not have its weights; one line
        with the path and the difference.
    """
    try:
        layers = weight_names.layers(spec)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    weight_files.check(path)
    variables = traverse_util.flatten_dict(fresh)
    read = _library(path).read
    contents = read(path, spec, layers[:-1], variables)
    classifier, last = _classifier(contents, layers[-1], variables)
    tensors = contents.base | {slot.name: contents.head[slot.name] for slot in last}
    slots = [*contents.slots, *last]
    _check(path, tensors, slots)
    for slot in slots:
        in_keras_order = tensors[slot.name].transpose(np.argsort(slot.axes))
        values = in_keras_order.reshape(variables[slot.path].shape)
        variables[slot.path] = jnp.asarray(values, jnp.float32)
    return Loaded(
        traverse_util.unflatten_dict(variables),
        contents.source,
        classifier,
        contents.conventions,
        contents.modules,
    )


def origin(path: Path) -> tuple[str, str]:
    """Return `Loaded.source` and `Loaded.conventions` of a file, without its network.

    Raises:
      ValueError: see `load`.
    """
    weight_files.check(path)
    return _library(path).origin(path)


def _library(path: Path) -> Any:
    """Return the module that reads a file."""
    of_pytorch = path.name.endswith((".safetensors", weight_files.INDEX))
    return pytorch_weights if of_pytorch else keras_weights


def save(path: Path, spec: arch.NetworkSpec, variables: Variables) -> None:
    """Write weights as safetensors with torchvision's names, shapes and types.

    `load` returns the same bits. Torchvision's `load_state_dict` accepts the tensors, and its
    network has the same results if this one has the conventions "torchvision": padding and epsilon
    are no weights.

    Raises:
      ValueError: the suffix is not .safetensors, the network is no MobileNetV2, or none of
        `mnv2_jax.arch.CONVENTIONS` has its padding and epsilon.
      OSError: the folder cannot be written to.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected a file ending in .safetensors")
    layers = weight_names.layers(spec)
    names = [*weight_names.torchvision_names(spec), "classifier.1"]
    conventions = _conventions_name(spec.conventions)
    flat = traverse_util.flatten_dict(variables)
    tensors = {
        slot.name: np.asarray(flat[slot.path])
        .reshape(slot.keras_shape)
        .transpose(slot.axes)
        .copy(order="C")
        for slot in weight_names.pytorch_slots(layers, names, flat)
    }
    norms = [name for name, layer in zip(names, layers, strict=True) if layer.kind == "norm"]
    tensors |= {f"{name}{COUNTER}": np.zeros((), np.int64) for name in norms}
    metadata = {"format": "pt", CONVENTIONS_KEY: conventions}
    atomic.write_bytes(path, safetensors_numpy.save(tensors, metadata))


def _classifier(
    contents: Contents, layer: Layer, variables: Mapping[Any, Any]
) -> tuple[str, list[Slot]]:
    """Return `Loaded.classifier`, and the slots of kernel and bias if they are to be loaded."""
    head = contents.head
    if not head:
        return "left fresh: the file has none", []
    names = sorted(head, key=lambda name: -head[name].ndim)
    if [head[name].ndim for name in names] == [2, 1]:
        own = head[names[1]].size
        slots = list(weight_names.slots(layer, names, variables, contents.axes))
        features, classes = slots[0].keras_shape
        if head[names[0]].shape == slots[0]._replace(keras_shape=(features, own)).shape:
            if own == classes:
                return "loaded", slots
            return f"left fresh: the file's has {own} classes, the network's {classes}", []
    return f"left fresh: the file has another head, {_first(contents.modules, 'layers')}", []


def _check(path: Path, tensors: Mapping[str, np.ndarray], slots: list[Slot]) -> None:
    """Raise ValueError with the first tensor whose name, shape or type is not that of its slot."""
    names = [slot.name for slot in slots]
    faults = []
    if missing := [name for name in names if name not in tensors]:
        faults.append(f"lacks {_first(missing, 'tensors')}")
    if extra := sorted(tensors.keys() - set(names)):
        faults.append(f"has {_first(extra, 'tensors')} unknown to the network")
    if faults:
        has = _blocks(tensor.shape for name, tensor in tensors.items() if name != names[0])
        if has != (needs := _blocks(slot.shape for slot in slots[1:])):
            faults.insert(0, f"has {has} blocks where the network has {needs}")
        raise ValueError(f"{path}: {'; '.join(faults)}")
    if differing := [slot for slot in slots if tensors[slot.name].shape != slot.shape]:
        name, shape = differing[0].name, differing[0].shape
        more = f", and {len(differing) - 1} more tensors differ" if len(differing) > 1 else ""
        raise ValueError(
            f"{path}: {name} has shape {tensors[name].shape}, the network needs {shape}{more}; "
            f"expected weights of its width, expansions and input channels"
            f"{_other_width(tensors, slots)}"
        )
    for name in names:
        dtype = tensors[name].dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"{path}: {name} holds {dtype}, expected floating point")


def _other_width(tensors: Mapping[str, np.ndarray], slots: list[Slot]) -> str:
    """Return, for an error, the width of MobileNetV2 of which a file has the channels."""
    kernels = [slot for slot in slots if slot.path[-2:] == ("project", "kernel")]
    own = [tensors[slot.name].shape[slot.axes.index(3) :][:1] for slot in kernels]
    if own == [slot.keras_shape[3:] for slot in kernels]:
        return ""
    for width in _WIDTHS:
        blocks = presets.build("mobilenet_v2", width=width).blocks
        if own == [(block.out_channels,) for block in blocks]:
            return f", not of width {width}"
    return ""


def _blocks(shapes: Iterable[tuple[int, ...]]) -> int:
    """Count the depthwise kernels of PyTorch, one for each block, without a stem of grey images."""
    return sum(len(shape) == 4 and shape[1] == 1 < shape[2] for shape in shapes)


def _first(names: Sequence[str], kind: str) -> str:
    return f"{names[0]} and {len(names) - 1} more {kind}" if len(names) > 1 else names[0]


def _conventions_name(conventions: arch.Conventions) -> str:
    """Return the name of conventions, or of the first that are the same in inference."""
    padding, epsilon = conventions.padding, conventions.norm_epsilon
    same_inference = [
        name
        for name, each in arch.CONVENTIONS.items()
        if (each.padding, each.norm_epsilon) == (padding, epsilon)
    ]
    if not same_inference:
        raise ValueError(
            f"padding={padding!r}, norm_epsilon={epsilon!r}: expected those of one of "
            f"{', '.join(arch.CONVENTIONS)}"
        )
    same = [name for name in same_inference if arch.CONVENTIONS[name] == conventions]
    return (same or same_inference)[0]
