"""Evaluation of given weights: a trained network, and ImageNet weights of other libraries."""

import dataclasses
import functools

import numpy as np
import pytest
from PIL import Image

from configs import digits
from mnv2_jax import api, arch, presets, side_tables
from mnv2_jax.ablation import resolve, weights
from mnv2_jax.ablation.grid import axis
from mnv2_jax.ablation.job import DataOptions
from mnv2_jax.nn import pretrained
from mnv2_jax.nn.network import initialise
from tests import commands

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_charts")]


@pytest.fixture(scope="module")
def network(without_charts, tmp_path_factory):
    """The folder of a run of digits with ReLU."""
    presets.PRESETS["two_blocks"] = presets.Preset(
        8, 1, 8, 2, lambda t: (presets.Stage(t, 8, 2, 2),), 32, 10, arch.BlockSpec(divisor=1)
    )
    config = digits.get_config()
    config.model.preset, config.model.activation = "two_blocks", "relu"
    config.model.expansion, config.train.epochs = 2.0, 6
    folder = tmp_path_factory.mktemp("runs") / "work"
    results = api.Experiment(config, axis("seed", (0,)), name="one").run(folder, progress=False)
    results.evaluate(evaluator="precision")
    return results


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The digits as a folder of images."""
    folder = tmp_path_factory.mktemp("images")
    dataset = DataOptions().open(resolve.data_selection(digits.get_config()))
    for split in ("train", "test"):
        for number, example in enumerate(getattr(dataset, split)):
            path = folder / split / dataset.class_names[example.label] / f"{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(example.image[..., 0]).save(path)
    return folder


def test_a_trained_network_is_measured_as_its_run_is(network, images, tmp_path):
    (run,) = network.runs
    status, out, err = commands.run(
        "evaluate",
        f"--pretrained={network.path / 'runs' / run}",
        f"--data={images}/",
        "--evaluator=precision",
        "--name=precise",
        f"--workdir={tmp_path}",
    )
    assert (status, err) == (0, "")
    (own,) = side_tables.read_all(network.path)
    (given,) = side_tables.read_all(tmp_path)
    of_run, of_weights = own.rows[run], given.rows["network"]
    assert len(of_run) > 20
    for name, value in of_run.items():
        # Ranges are of other training images, in another order.
        measure = name.partition("/")[2]
        is_accuracy = measure == "accuracy" or measure.endswith("_drop")
        near = (0.1 if "3" in measure else 0.03) if is_accuracy else 0.2 * value
        assert of_weights[f"precise/{measure}"] == pytest.approx(value, abs=near)
        assert f"precise/{measure}: " in out
    assert of_weights["precise/accuracy"] == pytest.approx(of_run["test_precision/accuracy"])
    assert [*given.blocks] == ["network"]
    assert given.about["data"] == f"{images}/"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": ""}, r"^data='': expected a folder of images \(DIR/\), or a prepared data set$"),
        ({"data": "mnist"}, "there is no such data set in"),
        ({"split": "tests"}, "tests"),
        ({"evaluator": "precise"}, "^evaluator='precise': expected FILE.py:FUNCTION or one of"),
    ],
)
def test_a_wrong_request_is_named(network, images, arguments, message):
    (folder,) = network.runs.values()
    request = {"pretrained": folder, "data": f"{images}/", **arguments}
    with pytest.raises(ValueError, match=message):
        api.evaluate(**request)


def test_other_classes_are_refused(network, tmp_path):
    for split in ("train", "test"):
        for name in ("cats", "dogs"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("L", (8, 8)).save(tmp_path / split / name / f"{split}.png")
    (folder,) = network.runs.values()
    with pytest.raises(ValueError, match=r"classes cats, dogs, \.\.\.; expected those of the netw"):
        api.evaluate(folder, f"{tmp_path}/")


def imagenet(folder, names):
    """Two images of each class, all of one colour."""
    for number, name in enumerate(names):
        for split in ("train", "test"):
            (folder / split / name).mkdir(parents=True)
            colour = (number % 256, number // 4, 80 if split == "test" else 90)
            Image.new("RGB", (8, 8), colour).save(folder / split / name / "one.png")
    return f"{folder}/"


@pytest.fixture
def small(monkeypatch):
    """Images of 32 pixels instead of 224."""
    monkeypatch.setattr(weights, "_RESOLUTION", 32)
    return presets.build("mobilenet_v2", resolution=32, classes=1000, conventions="torchvision")


def test_weights_of_other_libraries_are_measured_on_imagenet(small, tmp_path, monkeypatch):
    path = tmp_path / "mobilenet.safetensors"
    # As torchvision's: a file that does not tell its conventions.
    variables = initialise(small, 0)
    pretrained.save(path, small, variables)
    origin = functools.partial(lambda path: ("torchvision", "torchvision"))
    monkeypatch.setattr(pretrained, "origin", origin)
    names = [f"n{number:08}" for number in range(1000)]
    data = imagenet(tmp_path / "images", names)
    seen = []

    def look(subject):
        seen.extend(subject.networks)
        return subject.measure()

    monkeypatch.setitem(weights.measured.evaluators.EVALUATORS, "look", look)
    row = api.evaluate(path, data, evaluator="look")
    assert row.index.tolist() == ["mobilenet"]
    assert [*row.columns] == ["images_look/accuracy", "images_look/loss"]
    (network,) = seen
    assert dataclasses.replace(network.spec, classes=1000) == small
    assert network.scaling == "imagenet"
    assert network.class_names == tuple(names)
    kernel = network.variables["params"]["classifier"]["kernel"]
    np.testing.assert_array_equal(kernel, variables["params"]["classifier"]["kernel"])


def test_classes_in_another_order_than_labels_are_refused(small, tmp_path, monkeypatch):
    path = tmp_path / "mobilenet.safetensors"
    pretrained.save(path, small, initialise(small, 0))
    monkeypatch.setattr(pretrained, "origin", lambda path: ("torchvision", "torchvision"))
    data = imagenet(tmp_path / "images", ["cats", "dogs"])
    with pytest.raises(ValueError, match=r"2 classes, cats, dogs, .*; expected ImageNet's 1,000"):
        api.evaluate(path, data)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="it does not tell the scaling of images; expected a run"):
        api.evaluate(path, data)


def test_weights_without_their_classifier_are_refused(small, tmp_path, monkeypatch):
    spec = dataclasses.replace(small, classes=10)
    path = tmp_path / "mobilenet.safetensors"
    pretrained.save(path, spec, initialise(spec, 0))
    monkeypatch.setattr(pretrained, "origin", lambda path: ("torchvision", "torchvision"))
    data = imagenet(tmp_path / "images", ["n00000001", "n00000002"])
    with pytest.raises(ValueError, match="its classifier is left fresh: the file's has 10 classes"):
        api.evaluate(path, data)
