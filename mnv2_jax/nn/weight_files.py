"""Files of weights that others write: what lies in them, before it is known whose weights they are.

Nothing is ever unpickled: a file is read as tensors or refused. Every error is a ValueError of one
line that begins with the path.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import safetensors

PICKLES = (b"PK\x03\x04", b"\x80")
"""How files of `torch.save` begin: a zip archive of pickles or, before PyTorch 1.6, a pickle."""

SUFFIXES = (".safetensors", ".h5", ".hdf5")
"""The endings of files that can be read: the first for PyTorch's weights, the rest for Keras's."""


class Tensor(NamedTuple):
    """A tensor of a file: its name there and its values."""

    name: str
    values: np.ndarray


class KerasLayers(NamedTuple):
    """The layers of a Keras model that have weights, `layers[class]` in the model's order.

    Attributes:
      layout: what the file's layout is called.
      layers: the weights of each layer in Keras's order; the legacy layout does not tell classes
        apart and has all layers under the class "".
    """

    layout: str
    layers: dict[str, list[list[Tensor]]]


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads the tensors of a safetensors file by name, and its metadata.

    Raises:
      ValueError: the file is none or is cut off.
    """
    with path.open("rb") as file:
        start = file.read(9)
    # Safetensors begins with the length of its header, which may be any bytes, and then the header.
    if start.startswith(PICKLES) and start[8:] not in (b"{", b""):
        raise ValueError(
            f"{path}: pickled checkpoints are not read, since they can run code; expected "
            "safetensors, as safetensors.torch.save_file writes it"
        )
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return tensors, opened.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({_one_line(error)})") from error


def read_keras(path: Path) -> KerasLayers:
    """Reads the layers of a Keras model from HDF5: the legacy layout or that of `.weights.h5`.

    The legacy layout lists its layers in attributes, at the root (files of weights) or under
    `model_weights` (whole models). Keras 3 names a layer by its class and its number within it.
    Sources: keras/src/legacy/saving/legacy_h5_format.py and keras/src/saving/saving_lib.py.

    Raises:
      ValueError: the file is not HDF5, is cut off or has another layout.
    """
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path}: not an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            if "layer_names" in group.attrs:
                return KerasLayers("legacy HDF5", {"": list(_legacy_layers(group))})
            if isinstance(file.get("layers"), h5py.Group):
                return KerasLayers(".weights.h5", _keras3_layers(file["layers"]))
            names = ", ".join(sorted(file)) or "nothing"
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: not a whole HDF5 file ({_one_line(error)})") from error
    raise ValueError(
        f"{path}: no weights of a Keras model: expected the attribute layer_names or the group "
        f"layers, found {names}"
    )


def _legacy_layers(group: h5py.Group) -> Iterator[list[Tensor]]:
    for layer in _names(group, "layer_names"):
        weights = _names(group[layer], "weight_names")
        if weights:
            yield [Tensor(name, np.asarray(group[layer][name])) for name in weights]


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names: bytes or text, depending on the version of Keras that wrote it."""
    return [
        name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]
    ]


def _keras3_layers(group: h5py.Group) -> dict[str, list[list[Tensor]]]:
    """The layers by class, of which the second has the suffix "_1", the third "_2" and so on."""
    layers: dict[str, list[list[Tensor]]] = {}
    for class_name, _, name in sorted((*_class_and_number(name), name) for name in group):
        weights = group.get(f"{name}/vars", {})
        if numbers := sorted(int(key) for key in weights if key.isdecimal()):
            layers.setdefault(class_name, []).append(
                [
                    Tensor(f"layers/{name}/vars/{number}", np.asarray(weights[str(number)]))
                    for number in numbers
                ]
            )
    return layers


def _class_and_number(name: str) -> tuple[str, int]:
    head, _, tail = name.rpartition("_")
    return (head, int(tail)) if tail.isdecimal() else (name, 0)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
