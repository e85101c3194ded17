import dataclasses
import functools
import pickle

import h5py
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mnv2_jax import arch, presets
from mnv2_jax.nn import pretrained
from mnv2_jax.nn.network import variable_shapes
from tests.nn.layouts import (
    CLASSES,
    HEAD,
    keras_model,
    state_dict,
    variables,
    write,
    write_keras3,
)


@functools.cache
def spec_of(**options):
    options = {"width": 0.35, "resolution": 32, "classes": CLASSES, **options}
    return presets.build("mobilenet_v2", **options)


@functools.cache
def zeros(spec):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variable_shapes(spec))


SOURCES = {
    "torchvision": ("torchvision", "torchvision"),
    "timm": ("timm", "torchvision"),
    "tonylins": ("mobilenetv2.pytorch", "torchvision"),
    "d-li14": ("mobilenetv2.pytorch", "torchvision"),
    "openmmlab": ("OpenMMLab", "torchvision"),
    "transformers": ("transformers", "slim"),
    "keras-legacy": ("Keras (legacy HDF5)", "keras"),
    "keras-model": ("Keras (legacy HDF5)", "keras"),
    "keras-3": ("Keras (.weights.h5)", "keras"),
}


def assert_same_bits(one, other):
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)
    for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()


def load(path, **options):
    spec = spec_of(**options)
    return pretrained.load(path, spec, zeros(spec))


def refusal(path, **options):
    """The one-line error for a file, without the path."""
    with pytest.raises(ValueError, match=r"^.+$") as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("layout", SOURCES)
def test_every_layout_is_read(tmp_path, layout):
    path = write(layout, tmp_path / "model")
    loaded = load(path)
    assert_same_bits(loaded.variables, variables())
    assert (loaded.source, loaded.conventions) == pretrained.origin(path) == SOURCES[layout]
    assert loaded.classifier == "loaded"


def test_an_export_is_torchvisions_state_dict_and_comes_back_bit_for_bit(tmp_path):
    path, spec = tmp_path / "out" / "model.safetensors", spec_of()
    ours = variables()
    ours["params"]["stem"]["kernel"] = np.full((3, 3, 3, 16), -np.nan, np.float32)
    pretrained.save(path, spec, ours)
    loaded = load(path)
    assert_same_bits(loaded.variables, ours)
    assert (loaded.source, loaded.classifier) == ("mnv2_jax", "loaded")
    written, expected = load_file(path), state_dict("torchvision")
    assert {name: (value.dtype, value.shape) for name, value in written.items()} == {
        name: (value.dtype, value.shape) for name, value in expected.items()
    }
    del written["features.0.0.weight"]
    for name, value in written.items():
        np.testing.assert_array_equal(value, expected[name])
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_an_export_of_other_kernels_and_depth_comes_back(tmp_path):
    spec = spec_of(kernel_size=5, depth=1.2, expansion=3, shortcut="none")
    generator = np.random.default_rng(0)
    ours = jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, np.float32), zeros(spec))
    pretrained.save(tmp_path / "model.safetensors", spec, ours)
    loaded = pretrained.load(tmp_path / "model.safetensors", spec, zeros(spec))
    assert_same_bits(loaded.variables, ours)


@pytest.mark.parametrize("name", arch.CONVENTIONS)
def test_an_export_remembers_its_conventions(tmp_path, name):
    path = tmp_path / "model.safetensors"
    pretrained.save(path, spec_of(conventions=name), variables())
    assert load(path).conventions == name
    ways = dataclasses.replace(arch.CONVENTIONS[name], dropout=0.5)
    spec = dataclasses.replace(spec_of(), conventions=ways)
    pretrained.save(path, spec, variables())
    similar = arch.CONVENTIONS[load(path).conventions]
    assert (similar.padding, similar.norm_epsilon) == (ways.padding, ways.norm_epsilon)


def test_conventions_without_a_name_are_not_exported(tmp_path):
    ways = dataclasses.replace(arch.CONVENTIONS["default"], norm_epsilon=0.5)
    spec = dataclasses.replace(spec_of(), conventions=ways)
    with pytest.raises(ValueError, match=r"padding='SAME', norm_epsilon=0\.5: expected those of"):
        pretrained.save(tmp_path / "model.safetensors", spec, variables())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened(tmp_path, dtype):
    state = {
        name: value.astype(dtype) if value.dtype == np.float32 else value
        for name, value in state_dict("torchvision").items()
    }
    save_file(state, tmp_path / "half.safetensors")
    rounded = jax.tree.map(
        lambda leaf: np.asarray(leaf).astype(dtype).astype(np.float32), variables()
    )
    assert_same_bits(load(tmp_path / "half.safetensors").variables, rounded)


@pytest.mark.parametrize("layout", SOURCES)
def test_a_classifier_of_other_classes_is_left_fresh(tmp_path, layout):
    path = write(layout, tmp_path / "model")
    spec = spec_of(classes=3)
    fresh = jax.tree.map(lambda leaf: np.full_like(leaf, 7), zeros(spec))
    loaded = pretrained.load(path, spec, fresh)
    assert loaded.classifier == "left fresh: the file's has 5 classes, the network's 3"
    classifier = loaded.variables["params"].pop("classifier")
    np.testing.assert_array_equal(classifier["kernel"], np.full((HEAD, 3), 7))
    np.testing.assert_array_equal(classifier["bias"], np.full(3, 7))
    expected = variables()
    del expected["params"]["classifier"]
    assert_same_bits(loaded.variables, expected)
    assert all((leaf == 7).all() for leaf in jax.tree.leaves(fresh))


@pytest.mark.parametrize("layout", SOURCES)
def test_a_file_without_a_classifier_leaves_it_fresh(tmp_path, layout):
    path = write(
        layout,
        tmp_path / "model",
        lambda name: not name.startswith(("classifier", "predictions", "head.")),
    )
    assert load(path).classifier == "left fresh: the file has none"


WIDER = {
    "torchvision": (
        "features.2.conv.2.weight has shape (8, 48, 1, 1), the network needs (16, 48, 1, 1)"
    ),
    "timm": (
        "blocks.1.0.conv_pwl.weight has shape (8, 48, 1, 1), the network needs (16, 48, 1, 1)"
    ),
    "keras-legacy": (
        "block_1_project/kernel:0 has shape (1, 1, 48, 8), the network needs (1, 1, 48, 16)"
    ),
    "keras-3": ("layers/conv2d_3/vars/0 has shape (1, 1, 48, 8), the network needs (1, 1, 48, 16)"),
}


@pytest.mark.parametrize("layout", WIDER)
def test_another_width_names_the_first_tensor_that_differs(tmp_path, layout):
    message = refusal(write(layout, tmp_path / "model"), width=0.5)
    assert message == (
        f"{WIDER[layout]}, and 186 more tensors differ; expected weights of its width, expansions "
        f"and input channels, not of width 0.35"
    )


def test_the_error_for_another_block_names_the_file(tmp_path):
    message = refusal(write("torchvision", tmp_path / "model"), block="sandglass")
    assert message.startswith("block='sandglass' in block 1: only MobileNetV2's weights can be ")


def test_another_depth_names_the_missing_tensors(tmp_path):
    blocks = "has 17 blocks where the network has 22"
    message = refusal(write("torchvision", tmp_path / "a"), depth=1.2)
    assert message == (
        f"{blocks}; lacks features.18.conv.0.0.weight and 79 more tensors; has "
        f"features.18.0.weight and 4 more tensors unknown to the network"
    )
    message = refusal(write("timm", tmp_path / "b"), depth=1.2)
    assert message == f"{blocks}; lacks blocks.conv_pw.weight and 74 more tensors"
    for layout in ("keras-legacy", "keras-3"):
        message = refusal(write(layout, tmp_path / layout), depth=1.2)
        assert message == f"{blocks}; expected weights of its depth"


def test_a_missing_or_unknown_tensor_is_named(tmp_path):
    state = state_dict("timm")
    del state["blocks.3.1.bn2.running_var"]
    save_file(state, tmp_path / "less.safetensors")
    assert refusal(tmp_path / "less.safetensors") == "lacks blocks.3.1.bn2.running_var"
    state = state_dict("torchvision")
    save_file(state | {"features.2.gate": np.zeros(1)}, tmp_path / "more.safetensors")
    message = refusal(tmp_path / "more.safetensors")
    assert message == "has features.2.gate unknown to the network"


@pytest.mark.parametrize("layout", ["keras-legacy", "keras-3"])
def test_a_missing_layer_of_keras_is_named(tmp_path, layout):
    path = write(layout, tmp_path / "model", lambda name: name != "block_3_project")
    assert (
        refusal(path)
        == {
            "keras-legacy": "lacks block_3_project",
            "keras-3": "has 34 conv2d layers with weights, the network needs 35",
        }[layout]
    )


@pytest.mark.parametrize(
    ("extra", "head"),
    [
        ({"ema.decay": np.zeros(1)}, "classifier.1 and 1 more layers"),
        ({"classifier.1.bias": np.zeros((2, 2))}, "classifier.1"),
    ],
)
def test_another_head_leaves_the_classifier_fresh(tmp_path, extra, head):
    save_file(state_dict("torchvision") | extra, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.classifier == f"left fresh: the file has another head, {head}"
    assert not loaded.variables["params"]["classifier"]["kernel"].any()


def test_a_layer_of_keras_with_a_bias_is_refused(tmp_path):
    model = list(keras_model())
    model[0][2]["bias"] = np.zeros(16, np.float32)
    write_keras3(tmp_path / "bias.weights.h5", model)
    message = refusal(tmp_path / "bias.weights.h5")
    assert message == (
        "layers/conv2d/vars/0, layers/conv2d/vars/1: a layer with 2 weights, the network's stem "
        "has 1"
    )


def test_integers_are_no_weights(tmp_path):
    state = state_dict("torchvision")
    state["features.0.1.bias"] = state["features.0.1.bias"].astype(np.int32)
    save_file(state, tmp_path / "model.safetensors")
    message = refusal(tmp_path / "model.safetensors")
    assert message == "features.0.1.bias holds int32, expected floating point"


@pytest.mark.parametrize("layout", ["torchvision", "keras-legacy", "keras-3"])
def test_truncated_files_are_refused(tmp_path, layout):
    path = write(layout, tmp_path / "model")
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert refusal(path).startswith("not a")


class Trap:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("start", [b"", b"PK\x03\x04"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_pickles_are_refused_unread(tmp_path, start, protocol):
    trap = tmp_path / "trap"
    path = tmp_path / "model.safetensors"
    path.write_bytes(start + pickle.dumps(Trap(trap), protocol))
    message = refusal(path)
    assert "pickled checkpoints are not read" in message
    assert "safetensors" in message
    path = path.rename(tmp_path / "model.h5")
    assert refusal(path) == "not an HDF5 file"
    assert not trap.exists()


def test_other_files_are_refused(tmp_path):
    assert refusal(tmp_path / "absent.h5") == "no such file"
    wrong = tmp_path / "model.onnx"
    wrong.touch()
    assert refusal(wrong) == (
        "expected a file ending in .safetensors, .safetensors.index.json, .h5, .hdf5, .keras"
    )
    save_file({"layer1.weight": np.zeros(3)}, tmp_path / "resnet.safetensors")
    assert refusal(tmp_path / "resnet.safetensors").startswith("no MobileNetV2 with the names of ")
    save_file({}, tmp_path / "empty.safetensors")
    assert refusal(tmp_path / "empty.safetensors").endswith("begins with nothing")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.zeros(3)
    message = refusal(tmp_path / "data.h5")
    assert message.endswith("expected the attribute layer_names or the group layers, found images")
    save_file(
        state_dict("torchvision"),
        tmp_path / "odd.safetensors",
        {pretrained.CONVENTIONS_KEY: "theirs"},
    )
    message = refusal(tmp_path / "odd.safetensors")
    assert message.startswith("mnv2_jax_conventions='theirs': expected one of default, ")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            spec_of(block="fused"),
            r"block='fused' in block 1: .* have block='inverted_residual'",
        ),
        (
            spec_of(squeeze_excite=True),
            r"squeeze_excite=True in block 1: .* squeeze_excite=False",
        ),
        (
            spec_of(spatial_conv="standard"),
            r"spatial_conv='standard' in block 1: .* spatial_conv='depthwise'",
        ),
        (
            dataclasses.replace(spec_of(), head_channels=0),
            "head_channels=0: MobileNetV2 has a last convolution",
        ),
    ],
)
def test_weights_of_other_networks_are_not_exchanged(tmp_path, spec, message):
    for function in (pretrained.load, pretrained.save):
        with pytest.raises(ValueError, match=message):
            function(tmp_path / "model.safetensors", spec, {})


def test_an_export_needs_the_suffix_of_its_format(tmp_path):
    with pytest.raises(ValueError, match=r"model\.h5: expected a file ending in \.safetensors"):
        pretrained.save(tmp_path / "model.h5", spec_of(), variables())
