"""Reader of the files that Keras writes: HDF5, of two layouts, and archives of it.

Every error is a ValueError of one line that begins with the path.
"""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np

from mnv2_jax.nn.weight_files import READ_ERRORS, check_regular, one_line

MAX_BYTES = 1 << 30
"""Most bytes that HDF5 tensors may claim: more than a MobileNetV2 with optimizer state has."""

LEGACY = "legacy HDF5"
"""`Model.layout` of the layout of Keras 2."""

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


class Layer(NamedTuple):
    """A layer of a Keras model that has weights.

    Attributes:
      model: the inner model that holds it; "" for the outermost.
      name: its own or, in Keras 3's layout, that of its class and its number within `model`.
      weights: in Keras's order.
    """

    model: str
    name: str
    weights: list[Tensor]


class Model(NamedTuple):
    """A Keras model.

    Attributes:
      layout: name of the file's layout.
      layers: those that have weights; of the legacy layout, those of the outermost model in the
        model's order.
      config: the model's own description, JSON; None if the file has none.
    """

    layout: str
    layers: list[Layer]
    config: Any


def read(path: Path) -> Model:
    """Read the layers of a Keras model from HDF5 or from a `.keras` archive that holds HDF5.

    The legacy layout lists its layers in attributes, at the root (files of weights) or under
    `model_weights` (whole models); the weights of an inner model are listed as those of one layer.
    Keras 3 has a group of `vars` per layer, inside the groups of the models that hold it.
    Sources: keras/src/legacy/saving/legacy_h5_format.py and keras/src/saving/saving_lib.py.

    Raises:
      ValueError: the file is not HDF5, is truncated or has another layout; it claims more bytes
        than it can hold, refers to other files, or needs a plugin.
    """
    check_regular(path)
    source: Path | BinaryIO = path
    size, config = path.stat().st_size, None
    try:
        if path.suffix == ".keras":
            source, size, config = _unpacked(path)
        elif not h5py.is_hdf5(path):
            raise _Refused("not an HDF5 file")
        with h5py.File(source, "r") as file:
            _check_contents(file, size)
            group = file.get("model_weights", file)
            if "layer_names" in group.attrs:
                config = json.loads(file.attrs.get("model_config", "null"))
                return Model(LEGACY, list(_legacy_layers(group)), config)
            if layers := _keras3_layers(file):
                layout = ".keras" if path.suffix == ".keras" else ".weights.h5"
                return Model(layout, layers, config)
            names = ", ".join(sorted(file)) or "nothing"
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except READ_ERRORS as error:
        kind = ".keras archive" if path.suffix == ".keras" else "HDF5 file"
        raise ValueError(f"{path}: not a whole {kind} ({one_line(error)})") from error
    raise ValueError(
        f"{path}: no weights of a Keras model: expected the attribute layer_names or the group "
        f"layers, found {names}"
    )


def _unpacked(path: Path) -> tuple[BinaryIO, int, Any]:
    """Return the HDF5 file of a `.keras` archive, its size and the model's config."""
    with zipfile.ZipFile(path) as archive:
        for name, most in (("model.weights.h5", MAX_BYTES), ("config.json", 1 << 26)):
            if archive.getinfo(name).file_size > most:
                raise _Refused(f"{name} claims more than {most:,} bytes")
        config = json.loads(archive.read("config.json"))
        content = archive.read("model.weights.h5")
        return io.BytesIO(content), len(content), config


def _check_contents(file: h5py.File, size: int) -> None:
    """Check every object of a file before anything is read.

    HDF5 can refer to values in other files: a downloaded file of weights could otherwise make
    `read` return the content of any file of this machine as weights.

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


def _legacy_layers(group: h5py.Group) -> Iterator[Layer]:
    for outer in _names(group, "layer_names"):
        layers: dict[str, list[Tensor]] = {}
        for name in _names(group[outer], "weight_names"):
            whole = name if name.startswith(f"{outer}/") else f"{outer}/{name}"
            tensor = Tensor(whole, np.asarray(group[outer][name]))
            layers.setdefault(name.rpartition("/")[0], []).append(tensor)
        for parents, weights in layers.items():
            if len(layers) == 1:
                yield Layer("", outer, weights)
            else:  # An inner model, whose trainable weights come first.
                yield Layer(outer, parents.rpartition("/")[2], weights)


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Return the names that an attribute lists, as bytes or text by the version of Keras."""
    return [
        name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]
    ]


def _keras3_layers(file: h5py.File) -> list[Layer]:
    """Return the layers by model, class and number."""
    found: dict[str, dict[int, np.ndarray]] = {}

    def add(path: str, item: object) -> None:
        layer, _, number = path.rpartition("/vars/")
        of_layer = layer not in ("", "optimizer") and number.isdecimal()
        if of_layer and isinstance(item, h5py.Dataset):
            found.setdefault(layer, {})[int(number)] = np.asarray(item)

    file.visititems(add)
    layers = []
    for path, weights in found.items():
        model, _, name = path.rpartition("/")
        tensors = [Tensor(f"{path}/vars/{number}", weights[number]) for number in sorted(weights)]
        layers.append(Layer("" if model == "layers" else model, name, tensors))
    return sorted(layers, key=lambda layer: (layer.model, class_and_number(layer.name)))


def class_and_number(name: str) -> tuple[str, int]:
    """Split a name that Keras gives a layer: its class, then "", "_1", "_2" and so on."""
    head, _, tail = name.rpartition("_")
    return (head, int(tail)) if tail.isdecimal() else (name, 0)
