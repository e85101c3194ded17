"""Weight files by their suffixes, and the reader of safetensors, for any network.

Nothing is ever unpickled: a file is read as tensors or refused. Every error is a ValueError of one
line that begins with the path.
"""

import json
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import safetensors

PICKLES = (b"PK\x03\x04", b"\x80")
"""First bytes of `torch.save`'s files: a zip of pickles or, before PyTorch 1.6, a pickle."""

PICKLED = (".bin", ".ckpt", ".pkl", ".pt", ".pth", ".tar")
"""Suffixes that `torch.save`'s files have."""

INDEX = ".safetensors.index.json"
"""Suffix of the file that lists the shards of weights, which lie beside it."""

SUFFIXES = (".safetensors", INDEX, ".h5", ".hdf5", ".keras")
"""Suffixes of files that can be read: the first two for PyTorch's weights, the rest for Keras's."""

READ_ERRORS = (
    safetensors.SafetensorError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SystemError,  # H5py for names that are not UTF-8.
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors of the libraries for files that are damaged."""


def is_weights(path: Path) -> bool:
    """Return whether a path ends as that of a file that can be read."""
    return path.name.endswith(SUFFIXES)


def check(path: Path) -> None:
    """Check that there is a file with one of `SUFFIXES`.

    Raises:
      ValueError: there is none. That of a pickle has the command that converts it.
    """
    if path.suffix in PICKLED:
        raise ValueError(_unread(path))
    if not is_weights(path):
        raise ValueError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if shard := re.search(r"(.*)-\d+-of-(?!0*1\.)\d+\.safetensors$", path.name):
        raise ValueError(f"{path}: one shard of several; expected their index, {shard[1]}{INDEX}")


def files(path: Path) -> list[Path]:
    """Return a file and, if it is an index, the shards that it lists.

    Raises:
      ValueError: the index is damaged, or a shard is missing or lies in another folder.
    """
    return [path, *sorted(set(_shards(path).values()))] if path.name.endswith(INDEX) else [path]


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the tensors of a safetensors file, or of the shards of an index, and its metadata.

    Raises:
      ValueError: a file is no safetensors file or is truncated; see `files` too.
    """
    if not path.name.endswith(INDEX):
        return _read_safetensors(path)
    shards = _shards(path)
    contents = {shard: _read_safetensors(shard)[0] for shard in sorted(set(shards.values()))}
    for name, shard in shards.items():
        if name not in contents[shard]:
            raise ValueError(f"{path}: {shard.name} lacks {name}; expected the shards of this file")
    return {name: contents[shard][name] for name, shard in shards.items()}, {}


def _shards(index: Path) -> dict[str, Path]:
    """Return the shard of each tensor."""
    check_regular(index)
    try:
        names = dict(json.loads(index.read_bytes())["weight_map"])
        shards = {str(tensor): index.parent / Path(name).name for tensor, name in names.items()}
        elsewhere = [name for name in names.values() if Path(name).name != name]
    except READ_ERRORS as error:
        raise ValueError(f"{index}: not a whole index of shards ({one_line(error)})") from None
    missing = [shard.name for shard in shards.values() if not shard.is_file()]
    if elsewhere or missing:
        raise ValueError(f"{index}: no shard {(elsewhere + missing)[0]} lies beside it")
    return shards


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    check_regular(path)
    with path.open("rb") as file:
        start = file.read(9)
    # Safetensors begins with the length of its header, which may look like a pickle.
    if start.startswith(PICKLES) and start[8:] not in (b"{", b""):
        raise ValueError(_unread(path))
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return tensors, opened.metadata() or {}
    except READ_ERRORS as error:
        raise ValueError(f"{path}: not a whole safetensors file ({one_line(error)})") from error


def _unread(path: Path) -> str:
    """Return the refusal of a pickle, with the two lines of Python that convert it."""
    return (
        f"{path}: pickled checkpoints are not read, since they can run code; expected safetensors, "
        f"as of: state = torch.load({path.name!r}, weights_only=True, map_location='cpu'); "
        f"safetensors.torch.save_file(state.get('state_dict', state), 'weights.safetensors')"
    )


def check_regular(path: Path) -> None:
    """Raise ValueError for files whose reading may block for ever, such as a pipe."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a regular file")


def one_line(error: Exception) -> str:
    """Return the message of a library's error without line breaks."""
    return " ".join(str(error).split())
