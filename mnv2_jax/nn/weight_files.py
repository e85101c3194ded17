"""Readers of weight files, safetensors and Keras's HDF5, for any network.

Nothing is ever unpickled: a file is read as tensors or refused. Every error is a ValueError of one
line that begins with the path.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import safetensors

PICKLES = (b"PK\x03\x04", b"\x80")
"""First bytes of `torch.save`'s files: a zip of pickles or, before PyTorch 1.6, a pickle."""

SUFFIXES = (".safetensors", ".h5", ".hdf5")
"""Suffixes of files that can be read: the first for PyTorch's weights, the rest for Keras's."""

MAX_BYTES = 1 << 30
"""Most bytes that HDF5 tensors may claim: more than a MobileNetV2 with optimizer state has."""

_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_LZF,
    h5py.h5z.FILTER_SZIP,
}
"""Filters that come with HDF5 and h5py. Any other is loaded as a plugin, which is code."""


class _Refused(ValueError):
    """Refusal of a file's content. The message does not have the path."""


class Tensor(NamedTuple):
    """A tensor of a file."""

    name: str
    values: np.ndarray


class KerasLayers(NamedTuple):
    """The layers of a Keras model that have weights.

    Attributes:
      layout: name of the file's layout.
      layers: by class and in the model's order, the weights of each layer in Keras's order. The
        legacy layout has no classes: all layers are of class "".
    """

    layout: str
    layers: dict[str, list[list[Tensor]]]


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the tensors of a safetensors file by name, and its metadata.

    Raises:
      ValueError: the file is no safetensors file or is truncated.
    """
    _check_regular(path)
    with path.open("rb") as file:
        start = file.read(9)
    # Safetensors begins with the length of its header, which may look like a pickle.
    if start.startswith(PICKLES) and start[8:] not in (b"{", b""):
        raise ValueError(
            f"{path}: pickled checkpoints are not read, since they can run code; expected "
            "safetensors, as safetensors.torch.save_file writes it"
        )
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return tensors, opened.metadata() or {}
    except _READ_ERRORS as error:
        raise ValueError(f"{path}: not a whole safetensors file ({_one_line(error)})") from error


def read_keras(path: Path) -> KerasLayers:
    """Read the layers of a Keras model from HDF5: the legacy layout or that of `.weights.h5`.

    The legacy layout lists its layers in attributes, at the root (files of weights) or under
    `model_weights` (whole models). Keras 3 names a layer by its class and its number within it.
    Sources: keras/src/legacy/saving/legacy_h5_format.py and keras/src/saving/saving_lib.py.

    Raises:
      ValueError: the file is not HDF5, is truncated or has another layout; it claims more bytes
        than it can hold, refers to other files, or needs a plugin.
    """
    _check_regular(path)
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path}: not an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            _check_contents(file, path.stat().st_size)
            group = file.get("model_weights", file)
            if "layer_names" in group.attrs:
                return KerasLayers("legacy HDF5", {"": list(_legacy_layers(group))})
            if isinstance(file.get("layers"), h5py.Group):
                return KerasLayers(".weights.h5", _keras3_layers(file["layers"]))
            names = ", ".join(sorted(file)) or "nothing"
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except _READ_ERRORS as error:
        raise ValueError(f"{path}: not a whole HDF5 file ({_one_line(error)})") from error
    raise ValueError(
        f"{path}: no weights of a Keras model: expected the attribute layer_names or the group "
        f"layers, found {names}"
    )


_READ_ERRORS = (
    safetensors.SafetensorError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors of the libraries for files that are damaged."""


def _check_regular(path: Path) -> None:
    """Raise ValueError for files whose reading may block for ever, such as a pipe."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a regular file")


def _check_contents(file: h5py.File, size: int) -> None:
    """Check every object of a file before anything is read.

    HDF5 can refer to values in other files: a downloaded file of weights could otherwise make
    `read_keras` return the content of any file of this machine as weights.

    Args:
      file: an open HDF5 file.
      size: of the file, in bytes.

    Raises:
      _Refused: an object is in another file, needs a plugin, or claims more bytes than fit.
    """
    links: list[tuple[str, object]] = []
    file.visititems_links(lambda name, link: links.append((name, link)))
    total = 0
    for name, link in links:
        if not isinstance(link, h5py.HardLink):
            raise _Refused(f"{name!r} is a link to elsewhere; expected the weights themselves")
        item = file[name]
        if not isinstance(item, h5py.Dataset):
            continue
        if item.external or item.is_virtual:
            raise _Refused(f"{name!r} lies in another file; expected the weights themselves")
        created = item.id.get_create_plist()
        filters = {created.get_filter(index)[0] for index in range(created.get_nfilters())}
        if plugins := filters - _FILTERS:
            raise _Refused(
                f"{name!r} needs a plugin, filter {min(plugins)}; expected no compression, gzip, "
                "lzf or szip"
            )
        # A chunk is read whole, and may be larger than its dataset.
        count = max(math.prod(item.shape or ()), math.prod(item.chunks or ()))
        claimed = count * item.dtype.itemsize
        total += claimed
        if total > MAX_BYTES or (not filters and not item.chunks and claimed > size):
            raise _Refused(
                f"{name!r} claims {claimed:,} bytes, of shape {item.shape}, in a file of "
                f"{size:,}; expected what fits in the file, and {MAX_BYTES:,} at most in all"
            )


def _legacy_layers(group: h5py.Group) -> Iterator[list[Tensor]]:
    for layer in _names(group, "layer_names"):
        weights = _names(group[layer], "weight_names")
        if weights:
            yield [Tensor(name, np.asarray(group[layer][name])) for name in weights]


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Return the names that an attribute lists, as bytes or text by the version of Keras."""
    return [
        name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]
    ]


def _keras3_layers(group: h5py.Group) -> dict[str, list[list[Tensor]]]:
    """Return the layers by class; their suffixes count "", "_1", "_2" and so on."""
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
