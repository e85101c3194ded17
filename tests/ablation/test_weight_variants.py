"""Weights as people have them: each variant is the base of a transfer, or refused in one line.

The files are made from the random network of `tests.nn.layouts` by names that are independent of
the package.
"""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from mnv2_jax import presets
from mnv2_jax.ablation.pretrained import PretrainedWeights
from tests.ablation.bases import assert_is_base_of, refusal
from tests.nn import layouts
from tests.nn.layouts import BASE, MLP, NORM, state_dict


def spec(**options):
    return presets.build(
        "mobilenet_v2", **{"width": 0.35, "resolution": 32, "classes": 3} | options
    )


RESCALING = {"class_name": "Rescaling", "config": {"scale": 1 / 127.5, "offset": -1}}
UNIT = {"class_name": "Rescaling", "config": {"scale": 1 / 255, "offset": 0.0}}


def description(*layers):
    return {"class_name": "Sequential", "config": {"layers": [*layers]}}


def legacy(path, before=(), **options):
    layouts.write_legacy(path := path / "model.h5", [*before, *MLP], **options)
    return path


def keras3(path, model, **options):
    layouts.write_keras3(path := path / "model.weights.h5", model, **options)
    return path


def archive(path, config, inner=BASE):
    layouts.write_archive(path := path / "model.keras", config, MLP, inner=inner)
    return path


def state(path, peer, prefix="", keep=lambda name: True, **others):
    tensors = {f"{prefix}{name}": v for name, v in state_dict(peer).items() if keep(name)}
    others = {name.replace("__", "."): np.array(values) for name, values in others.items()}
    save_file(tensors | others, path := path / "weights.safetensors")
    return path


def shards(path, folder=False):
    index = layouts.write_shards(path, state_dict("transformers"))
    return path if folder else index


def saved_by_transformers(path, **config):
    """A folder as `save_pretrained` writes it."""
    save_file(state_dict("transformers"), path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"tf_padding": True, **config}))
    return path


def without_classifier(name):
    return "classifier" not in name


OF_KERAS = "keras", "symmetric"
OF_PYTORCH = "torchvision", "imagenet"
OF_GOOGLE = "slim", "symmetric"

DENSE = "dense, batch_normalization, dense_1"
LOADED = {
    "keras inner, whole model .h5": (
        lambda path: legacy(
            path,
            inner=BASE,
            under="model_weights",
            text=str,
            model_config=json.dumps(description(RESCALING)),
        ),
        OF_KERAS,
        DENSE,
    ),
    "keras inner, frozen up to block 9, weights alone": (
        lambda path: legacy(path, inner=BASE, frozen=60),
        OF_KERAS,
        DENSE,
    ),
    "keras inner, .keras": (lambda path: archive(path, description(RESCALING)), OF_KERAS, DENSE),
    "keras inner, .weights.h5": (lambda path: keras3(path, MLP, inner=BASE), OF_KERAS, DENSE),
    "keras inner, of a subclass": (
        lambda path: keras3(path, MLP, under="", inner=BASE, where="base/layers"),
        OF_KERAS,
        DENSE,
    ),
    "keras 2.13": (
        lambda path: keras3(path, BASE + MLP, under="_layer_checkpoint_dependencies"),
        OF_KERAS,
        "batch_normalization_52, dense, dense_1",
    ),
    "keras, another head": (
        lambda path: keras3(path, BASE + MLP),
        OF_KERAS,
        "batch_normalization_52, dense, dense_1",
    ),
    "keras, other names, in order": (
        lambda path: legacy(path, before=[(f"my_{name}", *others) for name, *others in BASE]),
        OF_KERAS,
        DENSE,
    ),
    "torchvision, DataParallel": (
        lambda path: state(path, "torchvision", "module."),
        OF_PYTORCH,
        "module.classifier.1",
    ),
    "torchvision, compiled and in a module": (
        lambda path: state(path, "torchvision", "_orig_mod.module.model.backbone."),
        OF_PYTORCH,
        "_orig_mod.module.model.backbone.classifier.1",
    ),
    "torchvision, no head": (
        lambda path: state(path, "torchvision", keep=without_classifier),
        OF_PYTORCH,
        "",
    ),
    "timm, another head": (
        lambda path: state(
            path,
            "timm",
            "model.",
            without_classifier,
            head__0__weight=np.ones((4, 4)),
            head__2__weight=np.ones((3, 4)),
            loss__scale=1,
        ),
        OF_PYTORCH,
        "head.0, head.2, loss",
    ),
    "tonylins": (lambda path: state(path, "tonylins"), OF_PYTORCH, "classifier.1"),
    "d-li14": (lambda path: state(path, "d-li14", "module."), OF_PYTORCH, "module.classifier"),
    "OpenMMLab": (lambda path: state(path, "openmmlab"), OF_PYTORCH, "head.fc"),
    "transformers": (lambda path: state(path, "transformers"), OF_GOOGLE, "classifier"),
    "transformers, a folder": (saved_by_transformers, OF_GOOGLE, "classifier"),
    "transformers, a folder of shards": (
        lambda path: shards(path, folder=True),
        OF_GOOGLE,
        "classifier",
    ),
}
"""How a variant is written; conventions and scaling; the layers that are left out."""


@pytest.mark.parametrize("variant", LOADED)
def test_a_base_is_that_of_the_file_bit_for_bit(tmp_path, variant, monkeypatch):
    write, (conventions, scaling), head = LOADED[variant]
    given = PretrainedWeights.open(write(tmp_path))
    assert (given.conventions, given.scaling) == (conventions, scaling)
    loaded = given.loaded(spec())
    assert sorted(loaded.head) == sorted(filter(None, head.split(", ")))
    monkeypatch.setattr(PretrainedWeights, "loaded", lambda *_: loaded)  # Not once more.
    assert_is_base_of(given.start(spec()), layouts.variables())


def pickled(path):
    path = path / "model.pth"
    path.touch()
    return path


def two(path):
    tensors = state_dict("torchvision")
    tensors |= {f"teacher.{name}": values for name, values in tensors.items()}
    save_file(tensors, path := path / "two.safetensors")
    return path


def without_a_shard(path):
    index = shards(path)
    (path / "model-00002-of-00003.safetensors").unlink()
    return index


def with_config(path, **config):
    return saved_by_transformers(path, **config)


REFUSED = {
    "a pickle": (
        pickled,
        {},
        "model.pth: pickled checkpoints are not read, since they can run code; expected "
        "safetensors, as of: state = torch.load('model.pth', weights_only=True, "
        "map_location='cpu'); safetensors.torch.save_file(state.get('state_dict', state), "
        "'weights.safetensors')",
    ),
    "two networks": (
        two,
        {},
        "two.safetensors: has 2 networks, their names beginning with '', 'teacher.'; expected one",
    ),
    "an incomplete base": (
        lambda path: state(path, "openmmlab", keep=lambda name: "layer3.1.conv.2.bn.b" not in name),
        {},
        "weights.safetensors: lacks backbone.layer3.1.conv.2.bn.bias",
    ),
    "another width": (
        lambda path: state(path, "transformers"),
        {"width": 0.5},
        "weights.safetensors: mobilenet_v2.layer.0.reduce_1x1.convolution.weight has shape "
        "(8, 48, 1, 1), the network needs (16, 48, 1, 1), and 186 more tensors differ; expected "
        "weights of its width, expansions and input channels, not of width 0.35",
    ),
    "another depth": (
        lambda path: keras3(path, MLP, inner=BASE),
        {"depth": 1.2},
        "model.weights.h5: has 17 blocks where the network has 22; expected weights of its depth",
    ),
    "a base without its last convolution": (
        lambda path: legacy(path, inner=BASE[:-3]),
        {},
        "model.h5: lacks Conv_1 and 1 more layers",
    ),
    "images scaled by the model": (
        lambda path: archive(path, description(UNIT), BASE[:9]),
        {},
        "model.keras: its layer Rescaling has scale=0.00392156862745098, offset=0.0; expected "
        "1/127.5 and -1, as of preprocess_input",
    ),
    "images scaled by moments": (
        lambda path: keras3(path, [("n", "normalization", NORM), *MLP], inner=BASE[:9]),
        {},
        "model.weights.h5: its layer normalization scales images by moments of its own; expected "
        "images in [-1, 1], as of preprocess_input",
    ),
    "two bases": (
        lambda path: keras3(path, BASE[:9], inner=BASE[:9]),
        {},
        "model.weights.h5: has 2 networks, '' and 'layers/functional/layers'; expected one",
    ),
    "no base": (
        lambda path: keras3(path, MLP),
        {},
        "model.weights.h5: no MobileNetV2: no layer is a depthwise convolution; its layers with "
        "weights are batch_normalization, dense, dense_1",
    ),
    "other names": (
        lambda path: legacy(path, inner=[(f"my_{name}", *others) for name, *others in BASE]),
        {},
        "model.h5: its layers are called my_Conv1, my_bn_Conv1, my_expanded_conv_depthwise and so "
        "on; expected the names of keras.applications.MobileNetV2",
    ),
    "segmentation": (
        lambda path: state(path, "transformers", segmentation_head__conv__weight=np.ones((3, 4))),
        {},
        "weights.safetensors: of a network for segmentation, whose convolutions are dilated; "
        "expected one that classifies images",
    ),
    "other conventions": (
        lambda path: with_config(path, tf_padding=False),
        {},
        "model.safetensors: config.json beside it has tf_padding=False; expected True, as of "
        "Google's weights",
    ),
    "no shard": (
        without_a_shard,
        {},
        "model.safetensors.index.json: no shard model-00002-of-00003.safetensors lies beside it",
    ),
    "one shard": (
        lambda path: shards(path).parent / "model-00002-of-00003.safetensors",
        {},
        "model-00002-of-00003.safetensors: one shard of several; expected their index, "
        "model.safetensors.index.json",
    ),
}
"""How a file is written; fields of the network; the error."""


@pytest.mark.parametrize("variant", REFUSED)
def test_what_cannot_be_a_base_is_refused_in_one_line(tmp_path, variant):
    write, options, error = REFUSED[variant]
    path = write(tmp_path)

    def start():
        PretrainedWeights.open(path).start(spec(**options))

    assert refusal(start) == f"{tmp_path}/{error}"


def test_the_identity_of_shards_covers_all_of_them(tmp_path):
    index = shards(tmp_path)
    before = PretrainedWeights.open(index).identity
    tensors = state_dict("transformers")
    tensors["mobilenet_v2.conv_1x1.convolution.weight"] += 1
    layouts.write_shards(tmp_path, tensors)
    assert PretrainedWeights.open(index).identity != before


def test_a_deep_config_is_searched(tmp_path):
    deep = [description(UNIT)]
    for _ in range(500):
        deep = [deep]
    path = archive(tmp_path, deep, BASE[:9])
    assert "its layer Rescaling has scale=" in refusal(PretrainedWeights.open, path)
