"""Trained networks as files: all that is needed to use one or to train it further.

The format is safetensors. Tensors have the names of the network's variables, such as
`params/stem/kernel`; those of the optimizer's state are `optimizer/0`, `optimizer/1` and so on. A
JSON text in the metadata describes the network, with a hash of itself and of all tensors: without
it a flipped byte would load silently.
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
from mnv2_jax.neutral import added_fields
from mnv2_jax.nn import pretrained, weight_files, weight_names
from mnv2_jax.nn.network import variable_shapes

FILE = schema.NETWORK
"""Name of the file in a run's folder."""

KEY = "mnv2_jax_network"
"""Entry of the metadata that holds the JSON text."""

FORMAT = 2
"""Version of the format. Version 1, which has former names of blocks' fields, is read too."""

_FORMER_NAMES = {"kind": "block", "middle": "spatial_conv"}
"""Current names of blocks' fields by their names in version 1."""

_OPTIMIZER = "optimizer/"

_Spec = TypeVar("_Spec", arch.NetworkSpec, arch.BlockSpec, arch.Conventions)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network and the preprocessing of its images.

    Attributes:
      spec: the network, with the projection and shortcut that it was trained with.
      variables: `{"params": ..., "batch_stats": ...}`, float32 arrays on the host.
      class_names: by label. With `spec.classes` 1 there are two: the logit is that of the second.
      scaling: of images, one of `mnv2_jax.data.augment.SCALINGS`.
      crop_fraction: see `mnv2_jax.data.images.Images.fraction`.
      optimizer: the leaves of the optimizer's state; empty if it is not kept.

    Raises:
      ValueError: the class names are not strings or not as many as classes, or the fraction is out
        of range.
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
            raise ValueError(f"class_names={self.class_names!r}: expected strings")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction={self.crop_fraction!r}: expected above 0, at most 1")


def save(path: Path, trained: Trained) -> None:
    """Write a trained network atomically.

    Raises:
      OSError: the folder cannot be written to, or the disk is full.
    """
    tensors = traverse_util.flatten_dict(trained.variables, sep="/")
    tensors |= {f"{_OPTIMIZER}{number}": leaf for number, leaf in enumerate(trained.optimizer)}
    # Safetensors needs contiguous arrays and does not check that.
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
    """Read a file of `save`, bit for bit.

    Raises:
      ValueError: the file is absent, damaged, of another version or no trained network; or its
        network has other tensors, such as one whose block, in a user's file, has changed. One line
        that begins with the path.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected the {FILE} of a run")
    if path.suffix in (".h5", ".keras", ".pth", ".pt"):
        raise ValueError(
            f"{path}: weights of another library, it seems; expected the {FILE} of a run, such as "
            f"experiments.finetune trains from them (--pretrained)"
        )
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
    """Return whether a file is a trained network, by its metadata only."""
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            return KEY in (opened.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        return False


def _seems(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """Describe the file of another program by the names of its tensors."""
    if pretrained.CONVENTIONS_KEY in metadata:
        return "weights alone, as mnv2_jax.nn.pretrained exports them"
    for layout, _ in weight_names.find(tensors):
        return f"weights of {layout.source}, it seems"
    return f"tensors that begin with {', '.join(sorted(tensors)[:2]) or 'nothing'}"


def _described(path: Path, text: str, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the content of the JSON text without version and hash.

    Raises:
      ValueError: the version is unknown or the hash differs.
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
    return described


def _digest(described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """Return a hash of a network's description and of its tensors."""
    sha = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        sha.update(tensor.tobytes())
    return sha.hexdigest()


def _network(described: Any, tensors: int) -> arch.NetworkSpec:
    """Return a spec from its `dataclasses.asdict`.

    Args:
      described: the dict.
      tensors: the number of the network's tensors.

    Raises:
      ValueError: a field is missing or unknown, or its value is out of range.
    """
    fields = _fields(arch.NetworkSpec, described, "spec")
    # Every block has tensors of its own, and tracing very many blocks takes very long.
    if len(fields["blocks"]) > tensors:
        raise ValueError(
            f"spec.blocks: {len(fields['blocks']):,} of them, for {tensors:,} tensors; expected no "
            f"more blocks than tensors"
        )
    fields["blocks"] = tuple(
        _built(arch.BlockSpec, _with_current_names(block), f"spec.blocks[{number}]")
        for number, block in enumerate(fields["blocks"])
    )
    fields["conventions"] = _built(arch.Conventions, fields["conventions"], "spec.conventions")
    return _built(arch.NetworkSpec, fields, "spec")


def _with_current_names(block: Any) -> Any:
    if not isinstance(block, dict):
        return block  # Refused by `_fields`.
    return {_FORMER_NAMES.get(name, name): value for name, value in block.items()}


def _built(cls: type[_Spec], described: Any, where: str) -> _Spec:
    try:
        return cls(**_fields(cls, described, where))
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def _fields(
    cls: type[Any], described: Any, where: str, but: Collection[str] = ()
) -> dict[str, Any]:
    """Return the fields of a dataclass from JSON. Raise ValueError unless all are there, no others.

    Files of earlier versions lack fields that were added later, which have defaults.

    Args:
      cls: the dataclass.
      described: its fields.
      where: the field that holds it, for messages; empty for the outermost.
      but: fields that are stored elsewhere.
    """
    known = [field.name for field in dataclasses.fields(cls) if field.name not in but]
    if not isinstance(described, dict):
        raise ValueError(f"{where}={described!r}: expected the fields {', '.join(known)}")
    prefix = where and f"{where}."
    for name in described:
        if name not in known:
            raise ValueError(f"{prefix}{name}: unknown field; expected {', '.join(known)}")
    for name in known:
        if name not in described and name not in added_fields(cls):
            raise ValueError(f"{prefix}{name}: the field is missing")
    return dict(described)


def _check(spec: arch.NetworkSpec, tensors: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError with the first tensor whose type or shape is not that of the network."""
    needed = traverse_util.flatten_dict(variable_shapes(spec), sep="/")

    def describe(arrays: Mapping[str, Any], name: str) -> str:
        array = arrays.get(name)
        return "no such tensor" if array is None else f"{array.dtype}{list(array.shape)}"

    names = sorted(needed.keys() | tensors.keys())
    differing = [name for name in names if describe(tensors, name) != describe(needed, name)]
    if differing:
        first, *others = differing
        raise ValueError(
            f"{first}: the file has {describe(tensors, first)}, its network "
            f"{describe(needed, first)}; {len(others)} more tensors differ"
        )
