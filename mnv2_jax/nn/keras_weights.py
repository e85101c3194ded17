"""MobileNetV2's weights in Keras's files: the base, wherever it is in a model, and the rest."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnv2_jax import arch
from mnv2_jax.nn import keras_files, weight_names
from mnv2_jax.nn.weight_names import Contents, Layer, Slot

CLASSES = {
    "conv": "conv2d",
    "pointwise": "conv2d",
    "depthwise": "depthwise_conv2d",
    "norm": "batch_normalization",
}
"""Keras 3's names of layers, by kind."""


def read(
    path: Path, spec: arch.NetworkSpec, layers: list[Layer], variables: Mapping[Any, Any]
) -> Contents:
    """Read the weights of a model whose base is a MobileNetV2.

    The base is the model, or an inner one, with the most depthwise convolutions. Its layers are
    known by the names that Keras gives them; else by their order within each class, as Keras 3
    numbers them; else, in the legacy layout, by their order in the model.

    Args:
      path: see `mnv2_jax.nn.keras_files.read`.
      spec: the network.
      layers: those of its base.
      variables: the network's, or their shapes, by path.

    Raises:
      ValueError: see `mnv2_jax.nn.pretrained.load`.
    """
    model = _model(path)
    inner = _of_base(path, model)
    base = [layer for layer in model.layers if layer.model == inner]
    blocks = sum(map(_is_depthwise, base))
    if blocks != len(spec.blocks):
        raise ValueError(
            f"{path}: has {blocks} blocks where the network has {len(spec.blocks)}; expected "
            f"weights of its depth"
        )
    names = weight_names.keras_names(spec)
    if names[0] in {layer.name for layer in base}:
        found = _by_name(path, names, base)
    elif any(keras_files.class_and_number(layer.name)[0] == CLASSES["depthwise"] for layer in base):
        found = _by_class(path, layers, base)
    elif inner or model.layout != keras_files.LEGACY:
        raise ValueError(
            f"{path}: its layers are called {', '.join(layer.name for layer in base[:3])} and so "
            f"on; expected the names of keras.applications.MobileNetV2"
        )
    else:
        _check_count(path, "", len(base), len(layers))
        found = base[: len(layers)]
    slots: list[Slot] = []
    for layer, weights in zip(layers, (layer.weights for layer in found), strict=True):
        parameters = weight_names.parameters(layer)
        given = [weight.name for weight in weights]
        if len(given) != len(parameters):
            raise ValueError(
                f"{path}: {', '.join(given)}: a layer with {len(given)} weights, the network's "
                f"{'/'.join(layer.path)} has {len(parameters)}"
            )
        slots += weight_names.slots(layer, given, variables, axes={})
    used = {id(layer) for layer in found}
    head = [layer for layer in model.layers if id(layer) not in used]
    return Contents(
        dict(weight for layer in found for weight in layer.weights),
        slots,
        dict(weight for layer in head for weight in layer.weights),
        tuple(layer.name for layer in head),
        {},
        f"Keras ({model.layout})",
        "keras",
    )


def origin(path: Path) -> tuple[str, str]:
    """Return the library that wrote a file and the conventions of its network.

    Raises:
      ValueError: see `mnv2_jax.nn.pretrained.load`.
    """
    model = _model(path)
    _of_base(path, model)
    return f"Keras ({model.layout})", "keras"


def _model(path: Path) -> keras_files.Model:
    """Read a model and check that it takes images in [-1, 1], or scales them so by itself."""
    model = keras_files.read(path)
    for layer in model.layers:
        if keras_files.class_and_number(layer.name)[0] == "normalization":
            raise ValueError(
                f"{path}: its layer {layer.name} scales images by moments of its own; expected "
                f"images in [-1, 1], as of preprocess_input"
            )
    for config in _described(model.config, "Rescaling"):
        scale, offset = config.get("scale"), config.get("offset")
        if not (_is(scale, 1 / 127.5) and _is(offset, -1)):
            raise ValueError(
                f"{path}: its layer Rescaling has scale={scale!r}, offset={offset!r}; expected "
                f"1/127.5 and -1, as of preprocess_input"
            )
    return model


def _described(config: Any, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the configs of all layers of a class, wherever they are in a model's config."""
    left = [config]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if item.get("class_name") == kind and isinstance(item.get("config"), dict):
                yield item["config"]
            left += item.values()
        elif isinstance(item, list):
            left += item


def _is(value: object, right: float) -> bool:
    return isinstance(value, int | float) and math.isclose(value, right, rel_tol=1e-4)


def _of_base(path: Path, model: keras_files.Model) -> str:
    """Return the `keras_files.Layer.model` of the base's layers."""
    counts = Counter(layer.model for layer in model.layers if _is_depthwise(layer))
    if not counts:
        names = ", ".join(layer.name for layer in model.layers[:3]) or "none"
        raise ValueError(
            f"{path}: no MobileNetV2: no layer is a depthwise convolution; its layers with weights "
            f"are {names}{' and so on' if len(model.layers) > 3 else ''}"
        )
    (first, most), *others = counts.most_common(2)
    if others and others[0][1] == most:
        raise ValueError(f"{path}: has 2 networks, {first!r} and {others[0][0]!r}; expected one")
    return first


def _is_depthwise(layer: keras_files.Layer) -> bool:
    shape = layer.weights[0].values.shape
    return len(shape) == 4 and shape[0] > 1 and shape[3] == 1


def _by_name(
    path: Path, names: list[str], base: list[keras_files.Layer]
) -> list[keras_files.Layer]:
    named = {layer.name: layer for layer in base}
    if missing := [name for name in names if name not in named]:
        others = f" and {len(missing) - 1} more layers" if len(missing) > 1 else ""
        raise ValueError(f"{path}: lacks {missing[0]}{others}")
    return [named[name] for name in names]


def _by_class(
    path: Path, layers: list[Layer], base: list[keras_files.Layer]
) -> list[keras_files.Layer]:
    by_class: dict[str, list[keras_files.Layer]] = defaultdict(list)
    key = keras_files.class_and_number
    for layer in sorted(base, key=lambda layer: key(layer.name)):
        by_class[key(layer.name)[0]].append(layer)
    for name, needed in sorted(Counter(CLASSES[layer.kind] for layer in layers).items()):
        _check_count(path, f"{name} ", len(by_class[name]), needed)
    ordered = {name: iter(members) for name, members in by_class.items()}
    return [next(ordered[CLASSES[layer.kind]]) for layer in layers]


def _check_count(path: Path, kind: str, count: int, needed: int) -> None:
    if count < needed:
        raise ValueError(
            f"{path}: has {count} {kind}layers with weights, the network needs {needed}"
        )
