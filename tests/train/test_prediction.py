"""Predictions of a trained network, here and exported, against the network itself."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax import presets
from mnv2_jax.nn import pieces
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.trained import Trained
from mnv2_jax.train import prediction
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram

SYMMETRIC = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

UNEXPORTABLE = """
import flax.linen as nn
from mnv2_jax.nn.blocks.base import Block

class Counting(Block):
    @nn.compact
    def __call__(self, x, carry, *, train):
        y = self.conv(x, self.spec.out_channels, "only", train)
        return (y if int(x.shape[0]) > 1 else y), carry
"""


def network(tiny, scaling="imagenet", **knobs):
    """A network of random weights and random moments."""
    spec = presets.build(tiny, **{"shortcut": "none", "projection": "relu6", **knobs})
    variables = LaneProgram(spec, Recipe(1, 1, 1), 1).initialise(0).variables.tree
    draw = np.random.default_rng(0)
    stats = jax.tree.map(
        lambda leaf: draw.uniform(0.01, 0.05, leaf.shape).astype(np.float32),
        variables["batch_stats"],
    )
    variables = {**variables, "batch_stats": stats}
    names = tuple(map(str, range(max(2, spec.classes))))
    return Trained(spec, variables, names, scaling, 1.0)


@pytest.fixture(scope="module")
def small(tiny):
    return network(tiny)


def images(spec, count):
    """Noise, every image darker than the one before."""
    noise = np.random.default_rng(1).integers(0, 256, (count, *spec.input_shape), np.uint8)
    return noise >> np.arange(count, dtype=np.uint8)[:, None, None, None]


def test_images_and_scaling_make_a_difference(small):
    # Or the comparisons below would say little.
    found = np.asarray(prediction.logits(small)(images(small.spec, 3)))
    assert np.ptp(found, axis=0).max() > 0.05
    other = prediction.logits(dataclasses.replace(small, scaling="symmetric"))
    assert np.abs(found - other(images(small.spec, 3))).max() > 0.05


def expected(trained, pixels, moments):
    """By the formula of the scaling, and without compilation of the whole."""
    mean, deviation = (np.array(part, np.float64) for part in moments)
    if pixels.shape[-1] == 1:
        mean, deviation = mean.mean(keepdims=True), deviation.mean(keepdims=True)
    scaled = ((pixels / 255 - mean) / deviation).astype(np.float32)
    return np.asarray(Network(trained.spec).apply(trained.variables, scaled))


@pytest.mark.parametrize(
    ("scaling", "channels", "moments"), [("symmetric", 1, SYMMETRIC), ("imagenet", 3, IMAGENET)]
)
def test_logits_are_the_networks_of_scaled_images(tiny, scaling, channels, moments):
    trained = network(tiny, scaling, in_channels=channels)
    pixels = images(trained.spec, 3)
    found = prediction.logits(trained)(pixels)
    assert found.shape == (3, 10)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected(trained, pixels, moments), rtol=1e-4, atol=1e-4)


def test_an_image_alone_has_the_same_logits_as_among_others(small):
    logits = prediction.logits(small)
    pixels = images(small.spec, 3)
    together = logits(pixels)
    for number in range(3):
        alone = logits(pixels[number : number + 1])
        np.testing.assert_allclose(alone[0], together[number], rtol=1e-5, atol=1e-5)


def test_projection_and_shortcut_are_those_of_the_spec(tiny, small):
    pixels = images(small.spec, 2)
    other = presets.build(tiny, shortcut="bottleneck", projection="linear")
    changed = prediction.logits(dataclasses.replace(small, spec=other))(pixels)
    assert np.abs(changed - prediction.logits(small)(pixels)).max() > 0.01


def test_an_unknown_scaling_is_refused(small):
    wrong = dataclasses.replace(small, scaling="none")
    message = "scaling='none': expected one of symmetric, imagenet"
    with pytest.raises(ValueError, match=message):
        prediction.logits(wrong)
    with pytest.raises(ValueError, match=message):
        prediction.export(wrong)


@pytest.mark.parametrize(
    ("logits", "of_each_class"),
    [
        ([[0.0, 1.0, -2.0], [100.0, 0.0, -100.0]], [[0.0, 1.0, -2.0], [100.0, 0.0, -100.0]]),
        # One logit is that of the second class.
        ([[0.0], [2.0], [-50.0], [50.0]], [[0.0, 0.0], [0.0, 2.0], [0.0, -50.0], [0.0, 50.0]]),
    ],
)
def test_probabilities_are_softmax(logits, of_each_class):
    shares = np.exp(np.array(of_each_class))
    shares /= shares.sum(axis=1, keepdims=True)
    found = prediction.probabilities(np.array(logits, np.float32))
    np.testing.assert_allclose(found, shares, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        # Every operator of blocks: stride 2, full convolutions of few and of many channels.
        {"spatial_conv": "standard", "squeeze_excite": True, "in_channels": 3, "classes": 1},
    ],
)
def test_the_exported_program_gives_the_same_logits_for_any_batch(tiny, knobs):
    trained = network(tiny, **knobs)
    data = prediction.export(trained)
    assert isinstance(data, bytes)
    exported = jax.export.deserialize(bytearray(data))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    for count in (1, 3):
        pixels = images(trained.spec, count)
        found = exported.call(pixels)
        assert found.shape == (count, trained.spec.classes)
        np.testing.assert_allclose(found, prediction.logits(trained)(pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("text", ["channels:3", "patches:2"])
def test_the_exported_program_in_pieces(tiny, text):
    trained = network(tiny)
    way = pieces.parse(text)
    data = prediction.export(trained, way)
    assert data != prediction.export(trained)
    exported = jax.export.deserialize(bytearray(data))
    for count in (1, 3):
        pixels = images(trained.spec, count)
        expected = prediction.logits(trained)(pixels)
        for found in (exported.call(pixels), prediction.logits(trained, way)(pixels)):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_block_that_reads_the_batch_size_is_not_exported(tiny, tmp_path):
    (tmp_path / "own.py").write_text(UNEXPORTABLE)
    trained = network(tiny, block=f"{tmp_path / 'own.py'}:Counting")
    assert prediction.logits(trained)(images(trained.spec, 2)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"^the network cannot be exported for any batch .*batch"):
        prediction.export(trained)
