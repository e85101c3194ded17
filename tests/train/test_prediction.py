"""What a trained network makes of images, here and exported, against the network itself."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax import presets
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.trained import Trained
from mnv2_jax.train import prediction

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
    """A network of random weights, and of moments that are not those it begins with."""
    spec = presets.build(tiny, **{"shortcut": "none", "projection": "relu6", **knobs})
    images = jnp.zeros((1, *spec.input_shape))
    variables = jax.device_get(jax.jit(Network(spec).init)(jax.random.key(0), images))
    draw = np.random.default_rng(0)
    stats = jax.tree.map(
        lambda leaf: draw.uniform(0.02, 0.1, leaf.shape).astype(np.float32),
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
    ("scaling", "channels", "moments"),
    [("symmetric", 1, SYMMETRIC), ("imagenet", 1, IMAGENET), ("imagenet", 3, IMAGENET)],
)
def test_logits_are_the_networks_of_scaled_images(tiny, scaling, channels, moments):
    trained = network(tiny, scaling, in_channels=channels)
    pixels = images(trained.spec, 3)
    found = prediction.logits(trained)(pixels)
    assert (found.shape, found.dtype) == ((3, 10), jnp.float32)
    np.testing.assert_allclose(found, expected(trained, pixels, moments), rtol=1e-4, atol=1e-4)


def test_an_image_alone_comes_to_the_same_as_among_others(small):
    of_images = prediction.logits(small)
    pixels = images(small.spec, 3)
    together = of_images(pixels)
    for number in range(3):
        alone = of_images(pixels[number : number + 1])
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


def test_probabilities_are_softmax():
    logits = np.array([[0.0, 1.0, -2.0], [100.0, 0.0, -100.0]], np.float32)
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(prediction.probabilities(logits), shares, rtol=1e-6, atol=1e-30)


def test_one_logit_is_that_of_the_second_class():
    logits = np.array([[0.0], [2.0], [-50.0], [50.0]], np.float32)
    second = 1 / (1 + np.exp(-logits.astype(np.float64)))
    first = 1 / (1 + np.exp(logits.astype(np.float64)))
    found = prediction.probabilities(logits)
    assert found.shape == (4, 2)
    np.testing.assert_allclose(found, np.concatenate([first, second], axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        # Every operator that blocks are made of: stride 2 and full convolutions of few and of many
        # channels among them.
        {"spatial_conv": "standard", "squeeze_excite": True, "in_channels": 3, "classes": 1},
    ],
)
def test_what_is_exported_gives_the_same_logits_for_any_batch(tiny, knobs):
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


def test_a_block_that_needs_to_know_the_size_of_a_batch_is_not_exported(tiny, tmp_path):
    (tmp_path / "own.py").write_text(UNEXPORTABLE)
    trained = network(tiny, block=f"{tmp_path / 'own.py'}:Counting")
    assert prediction.logits(trained)(images(trained.spec, 2)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"^the network cannot be exported for any batch .*batch"):
        prediction.export(trained)
