"""Weight files in every layout, written by names and shapes that are independent of the package."""

import functools
import json
import zipfile
from typing import NamedTuple

import h5py
import numpy as np
from flax import traverse_util
from safetensors.numpy import save_file

CLASSES = 5
HEAD = 1280
# Channels of the blocks at width 0.35, by stage, computed by hand.
STAGES = ((8,), (8, 8), (16, 16, 16), (24, 24, 24, 24), (32, 32, 32), (56, 56, 56), (112,))


class Convolution(NamedTuple):
    """A convolution: its path in our network, and by peer its name and its norm's."""

    ours: str
    peers: dict[str, tuple[str, str]]
    kind: str
    shape: tuple[int, ...]


PARTS = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}
"""The parts of a block, with transformers' names."""


def of_transformers(module):
    return f"{module}.convolution", f"{module}.normalization"


@functools.cache
def convolutions():
    stem = Convolution(
        "stem",
        {
            "torchvision": ("features.0.0", "features.0.1"),
            "tonylins": ("features.0.0", "features.0.1"),
            "d-li14": ("features.0.0", "features.0.1"),
            "timm": ("conv_stem", "bn1"),
            "transformers": of_transformers("conv_stem.first_conv"),
            "openmmlab": ("conv1.conv", "conv1.bn"),
            "keras": ("Conv1", "bn_Conv1"),
        },
        "conv",
        (3, 3, 3, 16),
    )
    head = Convolution(
        "head",
        {
            "torchvision": ("features.18.0", "features.18.1"),
            "tonylins": ("features.18.0", "features.18.1"),
            "d-li14": ("conv.0", "conv.1"),
            "timm": ("conv_head", "bn2"),
            "transformers": of_transformers("conv_1x1"),
            "openmmlab": ("conv2.conv", "conv2.bn"),
            "keras": ("Conv_1", "Conv_1_bn"),
        },
        "pointwise",
        (112, HEAD),
    )
    found, before, number = [stem], 16, 0
    for stage, widths in enumerate(STAGES):
        for index, out in enumerate(widths):
            wide = 6 * before if number else before
            parts = [
                ("expand", "conv_pw", "pointwise", (before, wide)),
                ("depthwise", "conv_dw", "depthwise", (3, 3, wide)),
                ("project", "conv_pwl" if number else "conv_pw", "pointwise", (wide, out)),
            ]
            torchvision, timm = f"features.{number + 1}.conv", f"blocks.{stage}.{index}"
            openmmlab = f"layer{stage + 1}.{index}.conv"
            transformers = f"layer.{number - 1}" if number else "conv_stem"
            keras = f"block_{number}" if number else "expanded_conv"
            for place, (part, in_timm, kind, shape) in enumerate(parts if number else parts[1:]):
                pair = (f"{place}", f"{place + 1}")
                if part != "project":
                    pair = (f"{place}.0", f"{place}.1")
                flat = (f"{torchvision}.{3 * place}", f"{torchvision}.{3 * place + 1}")
                peers = {
                    "torchvision": (f"{torchvision}.{pair[0]}", f"{torchvision}.{pair[1]}"),
                    "tonylins": flat,
                    "d-li14": flat,
                    "timm": (f"{timm}.{in_timm}", f"{timm}.bn{place + 1}"),
                    "transformers": of_transformers(f"{transformers}.{PARTS[part]}"),
                    "openmmlab": (f"{openmmlab}.{place}.conv", f"{openmmlab}.{place}.bn"),
                    "keras": (f"{keras}_{part}", f"{keras}_{part}_BN"),
                }
                found.append(Convolution(f"block_{number + 1:02}/{part}", peers, kind, shape))
            before, number = out, number + 1
    return [*found, head]


@functools.cache
def weights():
    """Random variables of the network of width 0.35, by path."""
    generator = np.random.default_rng(0)
    draw = functools.partial(generator.standard_normal, dtype=np.float32)
    flat = {}
    for ours, _, _, shape in convolutions():
        flat[f"params/{ours}/kernel"] = draw(shape)
        for name in ("params/{}_norm/scale", "params/{}_norm/bias"):
            flat[name.format(ours)] = draw(shape[-1])
        for name in ("batch_stats/{}_norm/mean", "batch_stats/{}_norm/var"):
            flat[name.format(ours)] = draw(shape[-1])
    flat["params/classifier/kernel"] = draw((HEAD, CLASSES))
    flat["params/classifier/bias"] = draw(CLASSES)
    return flat


def variables():
    return traverse_util.unflatten_dict(weights(), sep="/")


CLASSIFIERS = {"torchvision": "classifier.1", "tonylins": "classifier.1", "openmmlab": "head.fc"}
PREFIXES = {"transformers": "mobilenet_v2.", "openmmlab": "backbone."}


def state_dict(peer):
    flat, state = weights(), {}
    for ours, peers, kind, _ in convolutions():
        conv, norm = (PREFIXES.get(peer, "") + name for name in peers[peer])
        kernel = flat[f"params/{ours}/kernel"]
        if kind == "conv":
            kernel = np.einsum("hwio->oihw", kernel)
        elif kind == "depthwise":
            kernel = np.einsum("hwc->chw", kernel)[:, None]
        else:
            kernel = kernel.T[:, :, None, None]
        state[f"{conv}.weight"] = kernel
        state[f"{norm}.weight"] = flat[f"params/{ours}_norm/scale"]
        state[f"{norm}.bias"] = flat[f"params/{ours}_norm/bias"]
        state[f"{norm}.running_mean"] = flat[f"batch_stats/{ours}_norm/mean"]
        state[f"{norm}.running_var"] = flat[f"batch_stats/{ours}_norm/var"]
        state[f"{norm}.num_batches_tracked"] = np.zeros((), np.int64)
    classifier = CLASSIFIERS.get(peer, "classifier")
    state[f"{classifier}.weight"] = flat["params/classifier/kernel"].T
    state[f"{classifier}.bias"] = flat["params/classifier/bias"]
    return {name: np.ascontiguousarray(v) if v.ndim else v for name, v in state.items()}


def keras_model():
    """Name, class and weights by name of every layer of Keras's model."""
    flat = weights()
    for ours, peers, kind, _ in convolutions():
        conv, norm = peers["keras"]
        kernel = flat[f"params/{ours}/kernel"]
        if kind == "depthwise":
            yield conv, "depthwise_conv2d", {"depthwise_kernel": kernel[:, :, :, None]}
        else:
            kernel = kernel[None, None] if kind == "pointwise" else kernel
            yield conv, "conv2d", {"kernel": kernel}
        moments = {
            "gamma": flat[f"params/{ours}_norm/scale"],
            "beta": flat[f"params/{ours}_norm/bias"],
            "moving_mean": flat[f"batch_stats/{ours}_norm/mean"],
            "moving_variance": flat[f"batch_stats/{ours}_norm/var"],
        }
        yield norm, "batch_normalization", moments
        yield f"{norm}_relu", "re_lu", {}
    last = {name: flat[f"params/classifier/{name}"] for name in ("kernel", "bias")}
    yield "predictions", "dense", last


BASE = [layer for layer in keras_model() if layer[1] != "dense"]
ONES = np.ones(10, np.float32)
NORM = {"gamma": ONES, "beta": ONES, "moving_mean": ONES, "moving_variance": ONES}
MLP = [
    ("dense", "dense", {"kernel": np.ones((HEAD, 10), np.float32), "bias": ONES}),
    ("batch_normalization", "batch_normalization", NORM),
    ("dense_1", "dense", {"kernel": np.ones((10, 2), np.float32), "bias": np.ones(2, np.float32)}),
]
"""A head of three layers in Keras."""


def is_moment(name):
    return name.startswith("moving_")


def write_legacy(path, model, under=None, text=bytes, inner=None, frozen=0, **attributes):
    """A file of Keras 2's layout.

    Args:
      path: of the file.
      model: its layers: name, class and weights.
      under: the group of the layers, as in files of whole models.
      text: type of names: Keras 2 writes bytes, Keras 3 text.
      inner: layers of a model `mobilenetv2` that comes first in it.
      frozen: how many of those do not train: Keras lists what trains before all else.
      attributes: of the file.
    """

    def names(values):
        named = [value.encode() if text is bytes else value for value in values]
        return np.array(named, object) if named and text is str else np.array(named)

    layers = {
        name: {f"{name}/{own}:0": v for own, v in values.items()} for name, _, values in model
    }
    if inner:
        listed = [
            (number < frozen or is_moment(own), f"{name}/{own}:0", value)
            for number, (name, _, values) in enumerate(inner)
            for own, value in values.items()
        ]
        ordered = sorted(listed, key=lambda entry: entry[0])
        layers = {"mobilenetv2": {name: value for _, name, value in ordered}, **layers}
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        group = file.create_group(under) if under else file
        group.attrs["layer_names"] = names(layers)
        for name, values in layers.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = names(values)
            for whole, value in values.items():
                layer.create_dataset(whole, data=value)


def write_keras3(path, model, under="layers", inner=None, where="layers/functional/layers"):
    """A file of Keras 3's layout; `inner` is a model at `where` in it, if there is one."""
    with h5py.File(path, "w") as file:
        file.create_group("vars")
        file["optimizer/vars/0"] = np.zeros((), np.int64)
        for place, layers in ((under, model), (where, inner or ())):
            counts: dict[str, int] = {}
            for _, kind, values in layers:
                number = counts[kind] = counts.get(kind, -1) + 1
                name = f"{kind}_{number}" if number else kind
                layer = file.create_group(f"{place}/{name}/vars")
                for index, value in enumerate(values.values()):
                    layer.create_dataset(str(index), data=value)


def write_archive(path, config, *model, **options):
    """A `.keras` archive: HDF5 of Keras 3's layout and the model's config."""
    write_keras3(inside := path.with_suffix(".weights.h5"), *model, **options)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.write(inside, "model.weights.h5")
    inside.unlink()


def write_shards(folder, state, count=3):
    """The index of shards of a state dict, as transformers writes them."""
    names = sorted(state)
    files = {
        name: f"model-{number % count + 1:05}-of-{count:05}.safetensors"
        for number, name in enumerate(names)
    }
    for file in set(files.values()):
        save_file({name: state[name] for name in names if files[name] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": files}))
    return index


def write(layout, path, keep=lambda name: True):
    """A file of the layout; `keep` chooses layers of Keras or tensors of PyTorch."""
    model = [layer for layer in keras_model() if keep(layer[0])]
    if layout == "keras-legacy":
        write_legacy(path := path.with_suffix(".h5"), model)
    elif layout == "keras-model":
        write_legacy(path := path.with_suffix(".hdf5"), model, under="model_weights", text=str)
    elif layout == "keras-3":
        write_keras3(path := path.with_suffix(".weights.h5"), model)
    else:
        state = {name: value for name, value in state_dict(layout).items() if keep(name)}
        save_file(state, path := path.with_suffix(".safetensors"))
    return path
