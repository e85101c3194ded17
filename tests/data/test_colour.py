import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from mnv2_jax.data import colour

COUNT = 6
LUMA = np.array([0.2989, 0.587, 0.114])

adjusted = {name: jax.jit(function) for name, function in colour.ADJUSTMENTS.items()}


def keys_of(count):
    return jax.random.split(jax.random.key(0), count)


@pytest.fixture(scope="module")
def images():
    """Noise, with greys, black, white and equal channels among its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 5, 3)).astype(np.float32)
    pixels[:, 0, 0], pixels[:, 0, 1], pixels[:, 0, 2] = 0, 255, 77
    pixels[:, 1, 0], pixels[:, 1, 1], pixels[:, 1, 2] = [9, 9, 0], [0, 9, 9], [9, 0, 9]
    return pixels


def drawn(strength):
    """From -`strength` to `strength`, for each image."""
    return strength * np.array([float(jax.random.uniform(k, minval=-1.0)) for k in keys_of(COUNT)])


def grey_of(images):
    return images if images.shape[-1] == 1 else (images @ LUMA)[..., None]


def blended(images, strength, other):
    factors = (1 + drawn(strength))[:, None, None, None]
    return np.clip(other + factors * (images - other), 0, 255)


OTHERS = {
    "brightness": lambda images: np.zeros_like(images),
    "contrast": lambda images: (
        np.full_like(images, 1) * grey_of(images).mean((1, 2, 3))[:, None, None, None]
    ),
    "saturation": lambda images: np.repeat(grey_of(images), 3, -1),
}


@pytest.mark.parametrize("strength", [0.3, 1.0])
@pytest.mark.parametrize(
    ("name", "channels"),
    [*((name, 3) for name in OTHERS), ("brightness", 1), ("contrast", 1)],
)
def test_images_are_blended_with_black_their_mean_or_their_grey(images, name, channels, strength):
    images = images[..., :channels].astype(float)
    expected = blended(images, strength, OTHERS[name](images))
    result = adjusted[name](keys_of(COUNT), images.astype(np.float32), strength)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, atol=1e-3)


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_hues_turn_as_those_of_colorsys(images, strength):
    def turned(pixel, turns):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel / 255)
        return 255 * np.array(colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value))

    expected = [
        np.apply_along_axis(turned, -1, image.astype(float), turns)
        for image, turns in zip(images, drawn(strength), strict=True)
    ]
    result = adjusted["hue"](keys_of(COUNT), images, strength)
    np.testing.assert_allclose(result, expected, atol=1e-3)


@pytest.mark.parametrize("name", colour.ADJUSTMENTS)
def test_no_strength_changes_nothing(images, name):
    result = adjusted[name](keys_of(COUNT), images, 0.0)
    np.testing.assert_allclose(result, images, atol=1e-4)


@pytest.mark.parametrize("name", colour.ADJUSTMENTS)
def test_results_stay_in_range(images, name):
    result = np.asarray(adjusted[name](keys_of(COUNT), images, 0.5 if name == "hue" else 1.0))
    assert result.min() >= 0
    assert result.max() <= 255
    assert result.max() > 200


@pytest.mark.parametrize("name", colour.ADJUSTMENTS)
def test_strengths_are_drawn_evenly_image_by_image(name):
    count, red = 2000, np.array([100, 0, 0], np.float32)
    result = adjusted[name](keys_of(count), np.tile(red, (count, 1, 1, 1)), 0.5)
    if name == "hue":
        pixels = np.asarray(result)[:, 0, 0] / 255
        shares = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in pixels])
    else:
        other = 0 if name == "brightness" else LUMA[0] * 100
        shares = (np.asarray(result)[:, 0, 0, 0] - other) / (100 - other) - 0.5
    _, chance = scipy.stats.kstest(shares, "uniform")
    assert chance > 1e-6
