"""A trained network, with all that is needed to use it or to train it further, as one file.

It is a safetensors file. Tensors have the names of the network's variables, such as
`params/stem/kernel`, and those of the optimizer's state are `optimizer/0`, `optimizer/1` and so on.
All else is one JSON text in its metadata, with a hash of that and of all tensors: a flipped byte
would load silently otherwise.
"""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
from flax import traverse_util
from safetensors import numpy as safetensors_numpy

from mnv2_jax import arch, atomic, schema
from mnv2_jax.nn import pretrained, weight_files
from mnv2_jax.nn.network import variable_shapes

FILE = schema.NETWORK
"""The file's name in a run's folder."""

KEY = "mnv2_jax_network"
"""The entry of the metadata that holds the JSON text."""

FORMAT = 2
"""The version of what is written. Of older ones 1 is read, where a block's name is its `kind`."""

_OPTIMIZER = "optimizer/"

_Spec = TypeVar("_Spec", arch.NetworkSpec, arch.BlockSpec, arch.Conventions)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network, and how images are made ready for it.

    Attributes:
      spec: the network; projection and shortcut of its blocks are those that it was trained with.
      variables: `{"params": ..., "batch_stats": ...}`, float32 arrays on the host.
      class_names: by label. With `spec.classes` 1 there are two, and the one logit is the second's.
      scaling: the name of how images are scaled, in `mnv2_jax.data.augment.SCALINGS`.
      crop_fraction: see `mnv2_jax.data.images.Images.fraction`.
      optimizer: the leaves of the optimizer's state, to go on from; empty where that is not kept.

    Raises:
      ValueError: names are no texts, or not as many as classes; or the fraction is out of range.
    """

    spec: arch.NetworkSpec
    variables: dict[str, Any]
    class_names: tuple[str, ...]
    scaling: str
    crop_fraction: float
    optimizer: tuple[np.ndarray, ...] = ()

    def __post_init__(self) -> None:
        classes = max(self.spec.classes, 2)
        if len(self.class_names) != classes:
            raise ValueError(
                f"class_names={self.class_names!r}: expected {classes} names, for a network with "
                f"classes={self.spec.classes}"
            )
        if not all(isinstance(name, str) for name in self.class_names):
            raise ValueError(f"class_names={self.class_names!r}: expected texts")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction={self.crop_fraction!r}: expected above 0, at most 1")


def save(path: Path, trained: Trained) -> None:
    """Write a trained network; the file is whole or absent.

    Raises:
      OSError: the folder cannot be written to, or the disk is full.
    """
    tensors = traverse_util.flatten_dict(trained.variables, sep="/")
    tensors |= {f"{_OPTIMIZER}{number}": leaf for number, leaf in enumerate(trained.optimizer)}
    # What safetensors is given must be contiguous, which it does not check.
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    described = {
        "format": FORMAT,
        "spec": dataclasses.asdict(trained.spec),
        "class_names": list(trained.class_names),
        "scaling": trained.scaling,
        "crop_fraction": trained.crop_fraction,
    }
    text = json.dumps({**described, "sha256": _digest(described, tensors)})
    atomic.write_bytes(path, safetensors_numpy.save(tensors, {KEY: text}))


def load(path: Path) -> Trained:
    """Read what `save` wrote, bit for bit.

    Raises:
      ValueError: there is no such file, it is none of a trained network, of another version, or
        damaged; or its network, of which a block may lie in a file of one's own, has other tensors.
        One line that begins with the path.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected the {FILE} of a run")
    tensors, metadata = weight_files.read_safetensors(path)
    if KEY not in metadata:
        raise ValueError(
            f"{path}: not a trained network of this package, but {_seems(tensors, metadata)}; "
            f"expected the {FILE} of a run"
        )
    described = _described(path, metadata[KEY], tensors)
    optimizer: list[np.ndarray] = []
    while (name := f"{_OPTIMIZER}{len(optimizer)}") in tensors:
        optimizer.append(tensors.pop(name))
    try:
        fields = _fields(Trained, described, "", but=("variables", "optimizer"))
        fields["spec"] = _network(fields["spec"], len(tensors))
        fields["class_names"] = tuple(fields["class_names"])
        variables = traverse_util.unflatten_dict(tensors, sep="/")
        trained = Trained(**fields, variables=variables, optimizer=tuple(optimizer))
        _check(trained.spec, tensors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    return trained


def is_trained(path: Path) -> bool:
    """Return whether a file is one of a trained network, by its metadata alone."""
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            return KEY in (opened.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        return False


def _seems(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """Return the kind of another program's file, as far as its names tell."""
    if pretrained.CONVENTIONS_KEY in metadata:
        return "weights alone, as mnv2_jax.nn.pretrained exports them"
    for name, peer in (("features.0.0.weight", "torchvision"), ("conv_stem.weight", "timm")):
        if name in tensors:
            return f"weights of {peer}, it seems"
    return f"tensors that begin with {', '.join(sorted(tensors)[:2]) or 'nothing'}"


def _described(path: Path, text: str, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the JSON text's content beside version and hash.

    Raises:
      ValueError: it has another version, or does not have the hash.
    """
    try:
        described = json.loads(text)
        version, digest = described["format"], described.pop("sha256", None)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path}: damaged, its {KEY} cannot be read") from None
    if version not in (1, FORMAT):
        raise ValueError(f"{path}: a network of format {version!r}; expected 1 or {FORMAT}")
    if digest != _digest(described, tensors):
        raise ValueError(f"{path}: damaged, it does not have the hash that it was saved with")
    del described["format"]
    return _with_current_names(described)


_FORMER = {"kind": "block", "middle": "spatial_conv"}
"""The names of a block's fields by those that they had in files of earlier versions."""


def _with_current_names(described: dict[str, Any]) -> dict[str, Any]:
    spec = described.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("blocks"), list):
        return described  # What is wrong with it is told later.
    blocks = [
        {_FORMER.get(name, name): value for name, value in block.items()}
        if isinstance(block, dict)
        else block
        for block in spec["blocks"]
    ]
    return {**described, "spec": {**spec, "blocks": blocks}}


def _digest(described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """Return a hash of a network's description and of all tensors' names, types, shapes, bytes."""
    sha = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        sha.update(tensor.tobytes())
    return sha.hexdigest()


def _network(described: Any, tensors: int) -> arch.NetworkSpec:
    """Return the spec that `dataclasses.asdict` made a dict of, of a network with so many tensors.

    Raises:
      ValueError: a field is missing or unknown, or its value is out of range.
    """
    fields = _fields(arch.NetworkSpec, described, "spec")
    # Each has tensors of its own. To trace very many takes very long.
    if len(fields["blocks"]) > tensors:
        raise ValueError(
            f"spec.blocks: {len(fields['blocks']):,} of them, for {tensors:,} tensors; expected no "
            f"more blocks than tensors"
        )
    fields["blocks"] = tuple(
        _made(arch.BlockSpec, block, f"spec.blocks[{number}]")
        for number, block in enumerate(fields["blocks"])
    )
    fields["conventions"] = _made(arch.Conventions, fields["conventions"], "spec.conventions")
    return _made(arch.NetworkSpec, fields, "spec")


def _made(kind: type[_Spec], described: Any, where: str) -> _Spec:
    try:
        return kind(**_fields(kind, described, where))
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def _fields(
    kind: type[Any], described: Any, where: str, but: Collection[str] = ()
) -> dict[str, Any]:
    """Return the fields of a dataclass out of JSON, all and no others.

    Args:
      kind: the dataclass.
      described: its fields.
      where: the field that it is, for messages; empty for the outermost.
      but: names of fields that are found elsewhere.
    """
    known = [field.name for field in dataclasses.fields(kind) if field.name not in but]
    if not isinstance(described, dict):
        raise ValueError(f"{where}={described!r}: expected the fields {', '.join(known)}")
    prefix = where and f"{where}."
    for name in described:
        if name not in known:
            raise ValueError(f"{prefix}{name}: unknown field; expected {', '.join(known)}")
    for name in known:
        if name not in described:
            raise ValueError(f"{prefix}{name}: the field is missing")
    return dict(described)


def _check(spec: arch.NetworkSpec, tensors: Mapping[str, np.ndarray]) -> None:
    """Raise, naming the first tensor that differs, unless tensors are those of the network."""
    needed = traverse_util.flatten_dict(variable_shapes(spec), sep="/")

    def kind(name: str, among: Mapping[str, Any]) -> str:
        return (
            f"{among[name].dtype}{list(among[name].shape)}" if name in among else "no such tensor"
        )

    names = sorted(needed.keys() | tensors.keys())
    differing = [name for name in names if kind(name, tensors) != kind(name, needed)]
    if differing:
        first = differing[0]
        raise ValueError(
            f"{first}: the file has {kind(first, tensors)}, its network {kind(first, needed)}; "
            f"{len(differing) - 1} more tensors differ"
        )
