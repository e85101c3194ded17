"""MobileNetV2's weights in state dicts of PyTorch, as safetensors."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mnv2_jax import arch
from mnv2_jax.nn import weight_files, weight_names
from mnv2_jax.nn.weight_names import Contents, Layer, Layout

CONVENTIONS_KEY = "mnv2_jax_conventions"
"""Entry of an export's metadata with the name of the network's conventions."""

COUNTER = ".num_batches_tracked"
"""End of the names of PyTorch's batch counters, which matter only if momentum is None."""

_OF_GOOGLE: dict[str, dict[str, object]] = {
    "config.json": {
        "tf_padding": True,
        "layer_norm_eps": 0.001,
        "hidden_act": "relu6",
        "output_stride": 32,
    },
    "preprocessor_config.json": {
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
}
"""Fields of transformers' files that features depend on, as the weights alone do not tell."""


def read(
    path: Path, spec: arch.NetworkSpec, layers: list[Layer], variables: Mapping[Any, Any]
) -> Contents:
    """Read a state dict.

    Args:
      path: a safetensors file, or the index of shards.
      spec: the network.
      layers: those of its base.
      variables: the network's, or their shapes, by path.

    Raises:
      ValueError: see `mnv2_jax.nn.pretrained.load`.
    """
    tensors, metadata = weight_files.read_safetensors(path)
    layout, prefix, source, conventions = _origin(path, tensors, metadata)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}
    base = {name: tensor for name, tensor in tensors.items() if layout.holds(name, prefix)}
    head = {name: tensor for name, tensor in tensors.items() if name not in base}
    names = layout.names(spec, [name.removeprefix(prefix) for name in base])
    modules = [f"{prefix}{name}" for name in names]
    slots = list(weight_names.pytorch_slots(layers, modules, variables))
    of_head = tuple(dict.fromkeys(name.rpartition(".")[0] or name for name in head))
    axes = weight_names.PYTORCH_AXES
    return Contents(base, slots, head, of_head, axes, source, conventions)


def origin(path: Path) -> tuple[str, str]:
    """Return the library that wrote a file and the conventions of its network.

    Raises:
      ValueError: see `mnv2_jax.nn.pretrained.load`.
    """
    _, _, source, conventions = _origin(path, *weight_files.read_safetensors(path))
    return source, conventions


def _origin(
    path: Path, tensors: Collection[str], metadata: Mapping[str, str]
) -> tuple[Layout, str, str, str]:
    """Return layout and prefix of a file's names, its source and its conventions."""
    found = weight_names.find(tensors)
    if not found:
        known = ", ".join(layout.source for layout in weight_names.LAYOUTS)
        raise ValueError(
            f"{path}: no MobileNetV2 with the names of {known}; begins with "
            f"{', '.join(sorted(tensors)[:2]) or 'nothing'}"
        )
    if len(found) > 1:
        prefixes = ", ".join(repr(prefix) for _, prefix in found)
        raise ValueError(
            f"{path}: has {len(found)} networks, their names beginning with {prefixes}; expected "
            f"one"
        )
    ((layout, prefix),) = found
    if layout.source == "transformers":
        _check_transformers(path, tensors)
    if CONVENTIONS_KEY not in metadata:
        return layout, prefix, layout.source, layout.conventions
    conventions = metadata[CONVENTIONS_KEY]
    arch.check_choice(f"{path}: {CONVENTIONS_KEY}", conventions, tuple(arch.CONVENTIONS))
    return layout, prefix, "mnv2_jax", conventions


def _check_transformers(path: Path, tensors: Collection[str]) -> None:
    """Check what the files beside transformers' weights say of padding, norms and images."""
    if any("segmentation_head." in name for name in tensors):
        raise ValueError(
            f"{path}: of a network for segmentation, whose convolutions are dilated; expected one "
            f"that classifies images"
        )
    for file, expected in _OF_GOOGLE.items():
        try:
            found = dict(json.loads((path.parent / file).read_bytes()))
        except FileNotFoundError:
            continue
        except weight_files.READ_ERRORS as error:
            raise ValueError(f"{path}: {file} beside it is not JSON ({error})") from None
        for field, right in expected.items():
            if found.get(field, right) != right:
                raise ValueError(
                    f"{path}: {file} beside it has {field}={found[field]!r}; expected {right!r}, "
                    f"as of Google's weights"
                )
