"""Import of MobileNetV2's weights from torchvision, timm and Keras, and export for torchvision.

PyTorch's state dicts are safetensors files, Keras's weights HDF5. Files do not have the knobs
without weights (activation, projection, shortcut), which are not checked.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import numpy as safetensors_numpy

from mnv2_jax import arch, atomic
from mnv2_jax.nn import weight_files, weight_names
from mnv2_jax.nn.weight_names import Layer, Slot

Variables = Mapping[str, Any]

CONVENTIONS_KEY = "mnv2_jax_conventions"
"""Entry of an export's metadata with the name of the network's conventions."""

KERAS_CLASSES = {
    "conv": "conv2d",
    "pointwise": "conv2d",
    "depthwise": "depthwise_conv2d",
    "norm": "batch_normalization",
    "dense": "dense",
}
"""Keras 3's names of layers, by kind."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Weights read from a file.

    Attributes:
      variables: the tree of `mnv2_jax.nn.network.initialise`, float32.
      source: the library that wrote the file.
      classifier: "loaded", or the reason why it was left fresh.
      conventions: those that the weights were trained under, a key of `mnv2_jax.arch.CONVENTIONS`.
        Under another padding or epsilon the results differ.
    """

    variables: dict[str, Any]
    source: str
    classifier: str
    conventions: str


class _Contents(NamedTuple):
    """A file's tensors by name, and their slots in the network, the classifier's last."""

    tensors: dict[str, np.ndarray]
    slots: list[Slot]
    source: str
    conventions: str


def load(path: Path, spec: arch.NetworkSpec, fresh: Variables) -> Loaded:
    """Read the weights of a MobileNetV2 that torchvision, timm, Keras or `save` wrote.

    Half precision is widened to float32. The classifier stays fresh if the file has none, or one
    with another number of classes.

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
    _check_file(path)
    variables = traverse_util.flatten_dict(fresh)
    if path.suffix == ".safetensors":
        contents = _pytorch(path, spec, layers, variables)
    else:
        contents = _keras(path, layers, variables)
    tensors, slots, source, conventions = contents
    classifier = _classifier(tensors, slots[-2:])
    if classifier != "loaded":
        for slot in slots[-2:]:
            tensors.pop(slot.name, None)
        slots = slots[:-2]
    _check(path, tensors, slots)
    for slot in slots:
        in_keras_order = tensors[slot.name].transpose(np.argsort(slot.axes))
        values = in_keras_order.reshape(variables[slot.path].shape)
        variables[slot.path] = jnp.asarray(values, jnp.float32)
    return Loaded(traverse_util.unflatten_dict(variables), source, classifier, conventions)


def origin(path: Path) -> tuple[str, str]:
    """Return `Loaded.source` and `Loaded.conventions` of a file, without its network.

    Raises:
      ValueError: see `load`.
    """
    _check_file(path)
    if path.suffix == ".safetensors":
        return _pytorch_origin(path, *weight_files.read_safetensors(path))
    return f"Keras ({weight_files.read_keras(path).layout})", "keras"


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
    layers, names = weight_names.layers(spec), weight_names.torchvision_names(spec)
    conventions = _conventions_name(spec.conventions)
    flat = traverse_util.flatten_dict(variables)
    tensors = {
        slot.name: np.asarray(flat[slot.path])
        .reshape(slot.keras_shape)
        .transpose(slot.axes)
        .copy(order="C")
        for slot in weight_names.pytorch_slots(layers, names, flat)
    }
    tensors |= {name: np.zeros((), np.int64) for name in _step_counters(names, layers)}
    metadata = {"format": "pt", CONVENTIONS_KEY: conventions}
    atomic.write_bytes(path, safetensors_numpy.save(tensors, metadata))


def _check_file(path: Path) -> None:
    if path.suffix not in weight_files.SUFFIXES:
        raise ValueError(f"{path}: expected a file ending in {', '.join(weight_files.SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")


def _pytorch_origin(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> tuple[str, str]:
    if "features.0.0.weight" not in tensors and "conv_stem.weight" not in tensors:
        raise ValueError(
            f"{path}: neither torchvision's MobileNetV2 (features.0.0.weight) nor timm's "
            f"(conv_stem.weight); begins with {', '.join(sorted(tensors)[:2]) or 'nothing'}"
        )
    if CONVENTIONS_KEY in metadata:
        conventions = metadata[CONVENTIONS_KEY]
        arch.check_choice(f"{path}: {CONVENTIONS_KEY}", conventions, tuple(arch.CONVENTIONS))
        return "mnv2_jax", conventions
    return "timm" if "conv_stem.weight" in tensors else "torchvision", "torchvision"


def _pytorch(
    path: Path, spec: arch.NetworkSpec, layers: list[Layer], variables: Mapping[Any, Any]
) -> _Contents:
    """Read a state dict of torchvision or timm, which differ in the name of the first layer."""
    tensors, metadata = weight_files.read_safetensors(path)
    source, conventions = _pytorch_origin(path, tensors, metadata)
    if source == "timm":
        names = weight_names.timm_names(spec, tensors)
    else:
        names = weight_names.torchvision_names(spec)
    for name in _step_counters(names, layers):
        tensors.pop(name, None)
    slots = list(weight_names.pytorch_slots(layers, names, variables))
    return _Contents(tensors, slots, source, conventions)


def _step_counters(names: list[str], layers: list[Layer]) -> list[str]:
    """Return the names of PyTorch's batch counters, which matter only if momentum is None."""
    return [
        f"{name}.num_batches_tracked"
        for name, layer in zip(names, layers, strict=True)
        if layer.kind == "norm"
    ]


def _keras(path: Path, layers: list[Layer], variables: Mapping[Any, Any]) -> _Contents:
    """Read weights of Keras, whose layers are matched by their order, as Keras does."""
    layout, by_class = weight_files.read_keras(path)
    classes = ["" if "" in by_class else KERAS_CLASSES[layer.kind] for layer in layers]
    _check_counts(path, Counter(classes), by_class, optional=classes[-1])
    remaining = {name: iter(members) for name, members in by_class.items()}
    tensors: dict[str, np.ndarray] = {}
    slots: list[Slot] = []
    for layer, name in zip(layers, classes, strict=True):
        parameters = weight_names.parameters(layer)
        weights = next(remaining.get(name, iter(())), None)
        if weights is None:  # Only the classifier can be missing here.
            names = [f"classifier/{parameter}" for _, parameter, _ in parameters]
        else:
            tensors |= dict(weights)
            names = [weight.name for weight in weights]
        if len(names) != len(parameters):
            raise ValueError(
                f"{path}: {', '.join(names)}: a layer with {len(names)} weights, the network's "
                f"{'/'.join(layer.path)} has {len(parameters)}"
            )
        slots += weight_names.slots(layer, names, variables, axes={})
    return _Contents(tensors, slots, f"Keras ({layout})", "keras")


def _check_counts(
    path: Path, needed: Counter[str], by_class: Mapping[str, list[Any]], optional: str
) -> None:
    """Raise ValueError unless the file has the layers needed; one of class `optional` may lack."""
    for name in sorted(needed.keys() | by_class.keys()):
        count = len(by_class.get(name, []))
        if count not in (needed[name], needed[name] - (name == optional)):
            described = f"{name} layers" if name else "layers"
            raise ValueError(
                f"{path}: has {count} {described} with weights, the network needs {needed[name]}"
            )


def _classifier(tensors: Mapping[str, np.ndarray], slots: list[Slot]) -> str:
    """Return `Loaded.classifier`; `slots` are those of its kernel and bias."""
    kernel, bias = slots
    if kernel.name not in tensors and bias.name not in tensors:
        return "left fresh: the file has none"
    if kernel.name in tensors and bias.name in tensors:
        features, classes = kernel.keras_shape
        own = tensors[bias.name].size
        fits = kernel._replace(keras_shape=(features, own)).shape == tensors[kernel.name].shape
        if fits and own != classes:
            return f"left fresh: the file's has {own} classes, the network's {classes}"
    return "loaded"


def _check(path: Path, tensors: Mapping[str, np.ndarray], slots: list[Slot]) -> None:
    """Raise ValueError with the first tensor whose name, shape or type is not that of its slot."""
    names = [slot.name for slot in slots]
    faults = []
    if missing := [name for name in names if name not in tensors]:
        faults.append(f"lacks {_first(missing)}")
    if extra := sorted(tensors.keys() - set(names)):
        faults.append(f"has {_first(extra)} unknown to the network")
    if faults:
        raise ValueError(f"{path}: {', and '.join(faults)}")
    if differing := [slot for slot in slots if tensors[slot.name].shape != slot.shape]:
        name, shape = differing[0].name, differing[0].shape
        more = f", and {len(differing) - 1} more tensors differ" if len(differing) > 1 else ""
        raise ValueError(
            f"{path}: {name} has shape {tensors[name].shape}, the network needs {shape}{more}; "
            f"expected weights of its width, expansions and input channels"
        )
    for name in names:
        dtype = tensors[name].dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"{path}: {name} holds {dtype}, expected floating point")


def _first(names: list[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more tensors" if len(names) > 1 else names[0]


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
