"""Files of weights that others write: what lies in them, before it is known whose weights they are.

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
"""The first bytes of `torch.save`'s files: a zip of pickles or, before PyTorch 1.6, a pickle."""

SUFFIXES = (".safetensors", ".h5", ".hdf5")
"""The endings of files that can be read: the first for PyTorch's weights, the rest for Keras's."""


MAX_BYTES = 1 << 30
"""No MobileNetV2 is as large, with the state of its optimizer: what claims more is not read."""

_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_LZF,
    h5py.h5z.FILTER_SZIP,
}
"""The filters that come with HDF5 and h5py. Any other one is loaded as a plugin, which is code."""


class _Refused(ValueError):
    """Refusal of a file's content. The message does not name the file."""


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
    """Read the tensors of a safetensors file by name, and its metadata.

    Raises:
      ValueError: the file is none or is cut off.
    """
    _check_regular(path)
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
    except _ODD as error:
        raise ValueError(f"{path}: not a whole safetensors file ({_one_line(error)})") from error


def read_keras(path: Path) -> KerasLayers:
    """Read the layers of a Keras model from HDF5: the legacy layout or that of `.weights.h5`.

    The legacy layout lists its layers in attributes, at the root (files of weights) or under
    `model_weights` (whole models). Keras 3 names a layer by its class and its number within it.
    Sources: keras/src/legacy/saving/legacy_h5_format.py and keras/src/saving/saving_lib.py.

    Raises:
      ValueError: the file is not HDF5, is cut off or has another layout; it claims more than it
        can hold, or has something read that is not in it, or by code that is not HDF5's.
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
    except _ODD as error:
        raise ValueError(f"{path}: not a whole HDF5 file ({_one_line(error)})") from error
    raise ValueError(
        f"{path}: no weights of a Keras model: expected the attribute layer_names or the group "
        f"layers, found {names}"
    )


_ODD = (
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
"""Errors of the libraries, of files whose parts do not fit together."""


def _check_regular(path: Path) -> None:
    """Refuse what may be waited for without end, such as a pipe."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a regular file")


def _check_contents(file: h5py.File, size: int) -> None:
    """Look at every object of a file before anything is read.

    HDF5 can name other files as the place of values: a file of weights from elsewhere could then
    have any file of this machine read, and carried on as weights.

    Args:
      file: an open HDF5 file.
      size: of the file, in bytes.

    Raises:
      _Refused: something lies outside, needs a plugin, or is larger than the file can hold.
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
        # A chunk is read whole, and may be larger than what is asked for.
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
    """Return a list of names: bytes or text, depending on the version of Keras that wrote it."""
    return [
        name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]
    ]


def _keras3_layers(group: h5py.Group) -> dict[str, list[list[Tensor]]]:
    """Return the layers by class; the second has the suffix "_1", the third "_2" and so on."""
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
