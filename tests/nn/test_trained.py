"""Trained networks as files: they round-trip, and other or damaged files are refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from mnv2_jax import presets
from mnv2_jax.nn import pretrained, trained
from mnv2_jax.nn.network import variable_shapes
from mnv2_jax.nn.trained import Trained
from tests.nn import layouts

OWN = """
import flax.linen as nn
from mnv2_jax.nn.blocks.base import Block

class Own(Block):
    @nn.compact
    def __call__(self, x, carry, *, train):
        return self.conv(x, {channels}, "only", train), carry
"""


def network(spec):
    """A network of random weights; one logit is of two classes."""
    draw = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: draw.standard_normal(leaf.shape, np.float32), variable_shapes(spec)
    )
    names = ("cat", "dog") if spec.classes == 1 else tuple(map(str, range(spec.classes)))
    return Trained(spec, variables, names, scaling="imagenet", crop_fraction=0.7)


@pytest.fixture
def small(tiny):
    return network(presets.build(tiny))


@pytest.fixture
def path(tmp_path, small):
    path = tmp_path / trained.FILE
    trained.save(path, small)
    return path


def assert_same(one, other):
    for field in dataclasses.fields(Trained):
        if field.name not in ("variables", "optimizer"):
            assert getattr(one, field.name) == getattr(other, field.name)
    trees = [(tree.variables, tree.optimizer) for tree in (one, other)]
    assert jax.tree.map(np.shape, trees[0]) == jax.tree.map(np.shape, trees[1])
    for mine, theirs in zip(*map(jax.tree.leaves, trees), strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert mine.tobytes() == theirs.tobytes()


def refusal(call, path):
    """The one-line error for a path, without the path."""
    with pytest.raises(ValueError, match=r"^.+$") as caught:
        call(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"block": "sandglass", "projection": "relu6", "shortcut": "none", "expansion": 2.5},
        {
            "spatial_conv": "standard",
            "squeeze_excite": True,
            "conventions": "torchvision",
            "classes": 1,
        },
    ],
)
def test_a_network_comes_back_bit_for_bit(tiny, tmp_path, knobs):
    saved = network(presets.build(tiny, **knobs))
    saved.variables["params"]["stem"]["kernel"][:] = -np.nan
    path = tmp_path / "new" / "any.safetensors"
    trained.save(path, saved)
    loaded = trained.load(path)
    assert_same(loaded, saved)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(loaded.variables))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_other_scripts_different_blocks_and_an_optimizer_come_back(small, tmp_path):
    *others, last = small.spec.blocks
    blocks = (*others, dataclasses.replace(last, projection="relu", kernel_size=5))
    saved = network(dataclasses.replace(small.spec, blocks=blocks, classes=1))
    draw = np.random.default_rng(1)
    # More than ten, such that names sorted as text would come back in another order.
    leaves = [np.int32(7), np.zeros(0, np.float32), np.float64(0.1)]
    leaves += [draw.standard_normal(4 + size, np.float32) for size in range(9)]
    strided = draw.standard_normal((6, 4), np.float32).T[::2]
    optimizer = tuple(map(np.asarray, [*leaves, strided]))
    saved = dataclasses.replace(saved, class_names=("Öl\n", "猫"), optimizer=optimizer)
    trained.save(tmp_path / "a", saved)
    assert_same(trained.load(tmp_path / "a"), saved)


def test_arrays_on_a_device_are_saved_like_host_arrays(small, path, tmp_path):
    moved = dataclasses.replace(small, variables=jax.device_put(small.variables))
    trained.save(tmp_path / "moved", moved)
    assert (tmp_path / "moved").read_bytes() == path.read_bytes()


def test_tensors_have_the_names_of_variables(small, path):
    tensors = load_file(path)
    kernel = small.variables["params"]["block_01"]["depthwise"]["kernel"]
    np.testing.assert_array_equal(tensors["params/block_01/depthwise/kernel"], kernel)
    moments = small.variables["batch_stats"]["stem_norm"]["mean"]
    np.testing.assert_array_equal(tensors["batch_stats/stem_norm/mean"], moments)
    assert len(tensors) == len(jax.tree.leaves(small.variables))


def own(folder, channels):
    folder.mkdir(exist_ok=True)
    (folder / "own.py").write_text(OWN.format(channels=channels))
    return f"{folder / 'own.py'}:Own"


def with_blocks(saved, block):
    """The same weights with another block in the specification."""
    blocks = tuple(dataclasses.replace(spec, block=block) for spec in saved.spec.blocks)
    return dataclasses.replace(saved, spec=dataclasses.replace(saved.spec, blocks=blocks))


def test_a_users_block_is_saved_as_its_file(tiny, tmp_path):
    block = own(tmp_path, "self.spec.out_channels")
    saved = network(presets.build(tiny, block=block))
    path = tmp_path / trained.FILE
    trained.save(path, saved)
    loaded = trained.load(path)
    assert_same(loaded, saved)
    assert {spec.block for spec in loaded.spec.blocks} == {block}


def test_a_users_block_that_is_gone_or_has_other_weights_is_refused(tiny, tmp_path):
    saved = network(presets.build(tiny, block=own(tmp_path, "self.spec.out_channels")))
    path = tmp_path / trained.FILE
    trained.save(path, with_blocks(saved, "gone.py:Own"))
    message = refusal(trained.load, path)
    assert message == "block='gone.py:Own': no such Python file; expected FILE.py:CLASS"
    block = own(tmp_path / "changed", "self.spec.out_channels + 1")
    trained.save(path, with_blocks(saved, block))
    message = refusal(trained.load, path)
    assert message.startswith("batch_stats/block_01/only_norm/mean: the file has float32[4], its ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda params: params["stem_norm"].update(scale=np.zeros(5, np.float32)),
            "params/stem_norm/scale: the file has float32[5], its network float32[4]; 0 more ",
        ),
        (
            lambda params: params["classifier"].update(bias=np.zeros(10)),
            "params/classifier/bias: the file has float64[10], its network float32[10]; 0 more ",
        ),
        (
            lambda params: params.pop("head"),
            "params/head/kernel: the file has no such tensor, its network float32[6, 8]; 0 more ",
        ),
        (
            lambda params: params.update(more={"bias": np.zeros(2), "scale": np.zeros(2)}),
            "params/more/bias: the file has float64[2], its network no such tensor; 1 more ",
        ),
    ],
)
def test_other_tensors_are_refused(small, tmp_path, change, message):
    change(small.variables["params"])
    trained.save(tmp_path / "a", small)
    assert refusal(trained.load, tmp_path / "a").startswith(message)


def test_every_kind_of_flipped_byte_is_found(small, path):
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    texts = [whole.index(text) for text in (b'\\"imagenet', b"block_01", b'\\"sha256', b"0.7")]
    places = [*range(8), *texts, *range(8, header, 97), *range(header, len(whole), 53), -1]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        message = refusal(trained.load, path)
        if place == -1:
            assert message == "damaged, it does not have the hash that it was saved with"
    path.write_bytes(whole.replace(b"imagenet", b"symmetri"))
    assert refusal(trained.load, path).startswith("damaged, it does not have the hash")
    path.write_bytes(whole)
    assert_same(trained.load(path), small)


def test_truncated_files_are_refused(path):
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert refusal(trained.load, path).startswith("not a whole safetensors file")


def rewritten(path, **fields):
    """Replaces fields of a file's description, and its hash."""
    with safe_open(path, framework="numpy") as opened:
        described = json.loads(opened.metadata()[trained.KEY])
    tensors = load_file(path)
    del described["sha256"]
    described |= fields
    described = {name: value for name, value in described.items() if value is not None}
    digest = trained._digest(described, tensors)
    save_file(tensors, path, {trained.KEY: json.dumps({**described, "sha256": digest})})


def test_another_version_is_refused(path):
    rewritten(path, format=3)
    assert refusal(trained.load, path) == "a network of format 3; expected 1 or 2"


def test_format_1_is_read(small, path):
    old = dataclasses.asdict(small.spec)
    for block in old["blocks"]:
        block["kind"] = block.pop("block")
        block["middle"] = block.pop("spatial_conv")
    rewritten(path, format=1, spec=old)
    assert_same(trained.load(path), small)
    del old["blocks"][1]["kind"]
    rewritten(path, format=1, spec=old)
    assert refusal(trained.load, path) == "spec.blocks[1].block: the field is missing"
    rewritten(path, format=1, spec={**old, "blocks": 7})
    assert refusal(trained.load, path)


def test_unknown_and_missing_fields_are_named(small, path):
    described = dataclasses.asdict(small.spec)
    rewritten(path, colour="red")
    assert refusal(trained.load, path).startswith("colour: unknown field; expected spec, class_na")
    rewritten(path, colour=None, scaling=None)
    assert refusal(trained.load, path) == "scaling: the field is missing"
    del described["blocks"][1]["stride"]
    rewritten(path, scaling="imagenet", spec=described)
    assert refusal(trained.load, path) == "spec.blocks[1].stride: the field is missing"
    described = dataclasses.asdict(small.spec)
    described["conventions"]["layout"] = "NCHW"
    rewritten(path, spec=described)
    message = refusal(trained.load, path)
    assert message.startswith("spec.conventions.layout: unknown field; expected padding, norm_mom")
    rewritten(path, spec={**described, "blocks": [7]})
    assert refusal(trained.load, path).startswith("spec.blocks[0]=7: expected the fields block, ")
    rewritten(path, spec=[1])
    assert refusal(trained.load, path).startswith("spec=[1]: expected the fields resolution, in_")


def test_values_out_of_range_are_named(small, path):
    described = dataclasses.asdict(small.spec)
    rewritten(path, spec={**described, "stem_stride": 3})
    assert refusal(trained.load, path) == "stem_stride=3: expected one of 1, 2"
    rewritten(path, spec={**described, "classes": "ten"})
    assert refusal(trained.load, path).startswith("spec: ")
    rewritten(path, spec={**described, "blocks": described["blocks"] * 300})
    assert refusal(trained.load, path).startswith("spec.blocks: 900 of them, for ")
    rewritten(path, spec=described, crop_fraction=1.5)
    assert refusal(trained.load, path) == "crop_fraction=1.5: expected above 0, at most 1"


@pytest.mark.parametrize("names", [[*range(10)], [None] * 10, [["a"]] * 10, {"a": 1}, 10])
def test_class_names_that_are_no_strings_are_refused(path, names):
    rewritten(path, class_names=names)
    assert refusal(trained.load, path)


WEIGHT = b'"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'


@pytest.mark.parametrize(
    "metadata",
    [
        b"[1]",
        b'"text"',
        b'{"a": 1}',
        b'{"a": null}',
        b'{"a": {"b": "c"}}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 100_000,
        b'{"a": "' + b"a" * 10_000_000 + b'"}',
    ],
)
def test_malformed_metadata_raises_one_line(tmp_path, metadata):
    header = b'{"__metadata__": ' + metadata + b", " + WEIGHT + b"}"
    path = tmp_path / "odd.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert refusal(trained.load, path)
    assert not trained.is_trained(path)
    spec = presets.build("mobilenet_v2", width=0.35, resolution=32)
    assert refusal(lambda path: pretrained.load(path, spec, {}), path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "{}", 100_000 * "["])
def test_a_malformed_description_is_damage(path, text):
    save_file(load_file(path), path, {trained.KEY: text})
    assert refusal(trained.load, path) == "damaged, its mnv2_jax_network cannot be read"


def test_files_of_other_programs_are_described(tmp_path):
    path = tmp_path / "other.safetensors"
    assert refusal(trained.load, path) == "no such file; expected the network.safetensors of a run"
    for peer in ("torchvision", "timm"):
        save_file(layouts.state_dict(peer), path)
        assert refusal(trained.load, path) == (
            f"not a trained network of this package, but weights of {peer}, it seems; expected the "
            "network.safetensors of a run"
        )
    spec = presets.build("mobilenet_v2", width=0.35, resolution=32, classes=layouts.CLASSES)
    pretrained.save(path, spec, layouts.variables())
    assert "but weights alone, as mnv2_jax.nn.pretrained exports them" in refusal(
        trained.load, path
    )
    save_file({"b": np.zeros(1), "a": np.zeros(1), "c": np.zeros(1)}, path)
    assert "but tensors that begin with a, b; expected" in refusal(trained.load, path)
    save_file({}, path)
    assert "but tensors that begin with nothing; expected" in refusal(trained.load, path)
    path.write_bytes(b"PK\x03\x04 and more")
    assert "pickled checkpoints are not read" in refusal(trained.load, path)


def test_a_trained_network_is_no_export(path):
    spec = presets.build("mobilenet_v2", width=0.35, resolution=32)
    message = refusal(lambda path: pretrained.load(path, spec, {}), path)
    assert "; begins with batch_stats/block_01/depthwise_norm/mean, batch_stats/block_" in message


def test_is_trained(path, tmp_path):
    assert trained.is_trained(path)
    other = tmp_path / "other.safetensors"
    assert not trained.is_trained(other)
    assert not trained.is_trained(tmp_path)
    for content in (b"", b"PK\x03\x04", path.read_bytes()[:100]):
        other.write_bytes(content)
        assert not trained.is_trained(other)
    save_file(layouts.state_dict("torchvision"), other, {"format": "pt"})
    assert not trained.is_trained(other)
    save_file({}, other)
    assert not trained.is_trained(other)


@pytest.mark.parametrize(
    ("classes", "fields", "message"),
    [
        (10, {"class_names": ("a", "b")}, r"class_names=\('a', 'b'\): expected 10 names, for a"),
        (1, {"class_names": ("dog",)}, "expected 2 names, for a network with classes=1"),
        (10, {"crop_fraction": 0.0}, r"crop_fraction=0\.0: expected above 0, at most 1"),
    ],
)
def test_wrong_fields_are_refused(small, classes, fields, message):
    spec = dataclasses.replace(small.spec, classes=classes)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(small, spec=spec, **fields)
