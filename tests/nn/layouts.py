"""Weight files in every layout, written by names and shapes that are independent of the package."""

import functools
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
    """A convolution: its path in our network, and its name and its norm's in each peer."""

    ours: str
    torchvision: tuple[str, str]
    timm: tuple[str, str]
    keras: tuple[str, str]
    kind: str
    shape: tuple[int, ...]


@functools.cache
def convolutions():
    stem = Convolution(
        "stem",
        ("features.0.0", "features.0.1"),
        ("conv_stem", "bn1"),
        ("Conv1", "bn_Conv1"),
        "conv",
        (3, 3, 3, 16),
    )
    head = Convolution(
        "head",
        ("features.18.0", "features.18.1"),
        ("conv_head", "bn2"),
        ("Conv_1", "Conv_1_bn"),
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
            keras = f"block_{number}" if number else "expanded_conv"
            for place, (part, in_timm, kind, shape) in enumerate(parts if number else parts[1:]):
                pair = (f"{place}", f"{place + 1}")
                if part != "project":
                    pair = (f"{place}.0", f"{place}.1")
                names = Convolution(
                    f"block_{number + 1:02}/{part}",
                    (f"{torchvision}.{pair[0]}", f"{torchvision}.{pair[1]}"),
                    (f"{timm}.{in_timm}", f"{timm}.bn{place + 1}"),
                    (f"{keras}_{part}", f"{keras}_{part}_BN"),
                    kind,
                    shape,
                )
                found.append(names)
            before, number = out, number + 1
    return [*found, head]


@functools.cache
def weights():
    """Random variables of the network of width 0.35, by path."""
    generator = np.random.default_rng(0)
    draw = functools.partial(generator.standard_normal, dtype=np.float32)
    flat = {}
    for ours, _, _, _, _, shape in convolutions():
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


def state_dict(peer):
    flat, state = weights(), {}
    for ours, torchvision, timm, _, kind, _ in convolutions():
        conv, norm = torchvision if peer == "torchvision" else timm
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
    classifier = "classifier.1" if peer == "torchvision" else "classifier"
    state[f"{classifier}.weight"] = flat["params/classifier/kernel"].T
    state[f"{classifier}.bias"] = flat["params/classifier/bias"]
    return {name: np.ascontiguousarray(v) if v.ndim else v for name, v in state.items()}


def keras_model():
    """Name, class and weights by name of every layer of Keras's model."""
    flat = weights()
    for ours, _, _, (conv, norm), kind, _ in convolutions():
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


def write_legacy(path, model, under=None, text=bytes):
    def names(values):
        # Keras 2 wrote bytes, Keras 3 writes text.
        named = [value.encode() if text is bytes else value for value in values]
        return np.array(named, object) if named and text is str else np.array(named)

    with h5py.File(path, "w") as file:
        group = file.create_group(under) if under else file
        group.attrs["layer_names"] = names([name for name, _, _ in model])
        for name, _, values in model:
            layer = group.create_group(name)
            layer.attrs["weight_names"] = names([f"{name}/{own}:0" for own in values])
            for own, value in values.items():
                layer.create_dataset(f"{name}/{own}:0", data=value)


def write_keras3(path, model):
    counts: dict[str, int] = {}
    with h5py.File(path, "w") as file:
        file.create_group("vars")
        for _, kind, values in model:
            number = counts[kind] = counts.get(kind, -1) + 1
            name = f"{kind}_{number}" if number else kind
            layer = file.create_group(f"layers/{name}/vars")
            for index, value in enumerate(values.values()):
                layer.create_dataset(str(index), data=value)


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
