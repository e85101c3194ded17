import collections

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from mnv2_jax.data import randaugment
from mnv2_jax.data.randaugment import OPERATIONS

HEIGHT, WIDTH = 16, 20
SIGNS = (-1, 1)
STRENGTHS = (0.3, 0.5, 1.0)


def noise(height=HEIGHT, width=WIDTH, channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    return pixels // 2 + 30  # with room for contrast, beyond 128 and below


def applied(name, pixels, strength, sign):
    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    return np.asarray(OPERATIONS[name](image, strength, sign)).reshape(pixels.shape)


def by_channel(function):
    def whole(pixels, strength, sign):
        planes = [function(plane, strength, sign) for plane in np.moveaxis(pixels, -1, 0)]
        return np.stack(planes, -1)

    return whole


def auto_contrast(plane, strength, sign):
    least, most = plane.min(), plane.max()
    return 255 * (plane - least) / (most - least)


def equalize(plane, strength, sign):
    # PIL's: the brightest of all is left out of the count, and shares are rounded half up.
    counts = np.bincount(plane.astype(int).ravel(), minlength=256)
    step = (plane.size - counts[np.flatnonzero(counts)[-1]]) // 255
    if step == 0:
        return plane
    below = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.minimum((step // 2 + below) // step, 255)[plane.astype(int)]


def solarize(plane, strength, sign):
    return np.where(plane >= round(256 * (1 - strength)), 255 - plane, plane)


def posterize(plane, strength, sign):
    size = 2 ** round(4 * strength)
    return plane // size * size


def grey(pixels):
    if pixels.shape[-1] == 1:
        return pixels
    return np.floor(pixels @ np.array([299, 587, 114]) / 1000 + 0.5)[..., None]


def enhanced(other):
    def whole(pixels, strength, sign):
        factor = 1 + 0.9 * sign * strength
        return np.clip(other(pixels) + factor * (pixels - other(pixels)), 0, 255)

    return whole


def smoothed(pixels):
    kernel = np.ones((3, 3, 1))
    kernel[1, 1] = 5
    inside = np.round(scipy.ndimage.convolve(pixels, kernel / 13))[1:-1, 1:-1]
    result = pixels.copy()  # PIL leaves the border as it is
    result[1:-1, 1:-1] = inside
    return result


def moved(matrix_and_offset):
    """Takes each pixel from a place in the image: of rows and columns, from the upper left corner.

    Interpolated linearly between the middles of pixels; grey outside.
    """

    def plane(pixels, strength, sign):
        matrix, offset = matrix_and_offset(strength * sign)
        half = np.array([0.5, 0.5])
        return scipy.ndimage.affine_transform(
            pixels,
            np.array(matrix),
            np.array(offset) + np.array(matrix) @ half - half,
            order=1,
            mode="constant",
            cval=128,
        )

    return by_channel(plane)


def rotation(strength):
    angle = np.deg2rad(30 * strength)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.array([HEIGHT / 2, WIDTH / 2])
    return matrix, centre - matrix @ centre


EYE = [[1.0, 0.0], [0.0, 1.0]]

EXPECTED = {
    "identity": lambda pixels, strength, sign: pixels,
    "auto_contrast": by_channel(auto_contrast),
    "equalize": by_channel(equalize),
    "rotate": moved(rotation),
    "solarize": by_channel(solarize),
    "posterize": by_channel(posterize),
    "color": enhanced(grey),
    "contrast": enhanced(lambda pixels: np.full_like(pixels, np.round(grey(pixels).mean()))),
    "brightness": enhanced(np.zeros_like),
    "sharpness": enhanced(smoothed),
    "shear_x": moved(lambda strength: ([[1, 0], [0.3 * strength, 1]], [0, 0])),
    "shear_y": moved(lambda strength: ([[1, 0.3 * strength], [0, 1]], [0, 0])),
    "translate_x": moved(lambda strength: (EYE, [0, 0.45 * WIDTH * strength])),
    "translate_y": moved(lambda strength: (EYE, [0.45 * HEIGHT * strength, 0])),
}
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EXPECTED)
def test_every_operation_is_its_formula(name, channels):
    pixels = noise(channels=channels)
    if name == "equalize":
        pixels = noise(40, 40, channels)  # images with too few pixels stay unchanged
    for strength in STRENGTHS:
        for sign in SIGNS:
            result = applied(name, pixels, strength, sign).astype(float)
            expected = np.asarray(EXPECTED[name](pixels.astype(float), strength, sign), float)
            apart = np.abs(result - expected)
            if name in GEOMETRIC:
                # PIL gives no share of the grey outside to what lies half a pixel within.
                inside = scipy.ndimage.binary_erosion(expected.sum(-1) != 128 * channels)
                assert inside.mean() > 0.2
                apart = apart[inside]
            # PIL rounds down.
            assert apart.max() <= 1.01
    changed = not np.array_equal(applied(name, pixels, 1.0, 1), pixels)
    assert changed == (name != "identity" and (name, channels) != ("color", 1))


def test_every_operation_is_tested():
    assert set(EXPECTED) == set(OPERATIONS)
    assert len(OPERATIONS) == 14


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["translate_x", "translate_y", "rotate", "shear_x", "shear_y"])
def test_grey_moves_in(name, channels):
    black = np.zeros((HEIGHT, WIDTH, channels), np.uint8)
    for sign in SIGNS:
        result = applied(name, black, 1.0, sign)
        assert (result == 128).all(-1).sum() >= 8
        assert set(np.unique(result)) <= set(range(129))


def test_translations_are_whole_where_their_lengths_are():
    pixels = noise()
    for sign in SIGNS:
        expected = np.full_like(pixels, 128)
        kept, source = (slice(0, 11), slice(9, 20))[::sign], (slice(9, 20), slice(0, 11))[::sign]
        expected[:, kept[0]] = pixels[:, source[0]]
        np.testing.assert_array_equal(applied("translate_x", pixels, 1.0, sign), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"auto_contrast", "equalize"}))
def test_no_strength_changes_nothing(name, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, channels), np.uint8)
    pixels[0, :2] = [[0], [255]]
    for sign in SIGNS:
        np.testing.assert_array_equal(applied(name, pixels, 0.0, sign), pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_single_pixel_stays_one(name, channels):
    pixels = np.full((1, 1, channels), 200, np.uint8)
    for strength in (0.0, *STRENGTHS):
        for sign in SIGNS:
            assert applied(name, pixels, strength, sign).dtype == np.uint8


@pytest.mark.parametrize("channels", [1, 3])
def test_the_generator_alone_decides(channels):
    pixels = noise(channels=channels)
    results = [
        randaugment.distorted(pixels, 2, 7, np.random.default_rng(seed)) for seed in (0, 0, 1, 2)
    ]
    assert all(result.shape == pixels.shape for result in results)
    assert all(result.dtype == np.uint8 for result in results)
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[1], results[2])
    assert not np.array_equal(results[2], results[3])
    np.testing.assert_array_equal(pixels, noise(channels=channels))


def test_operations_and_signs_are_drawn_evenly_layer_by_layer(monkeypatch):
    seen = []

    def recording(name):
        def operation(image, strength, sign):
            seen.append((name, sign))
            assert strength == 0.4
            return image

        return operation

    monkeypatch.setattr(randaugment, "OPERATIONS", {name: recording(name) for name in OPERATIONS})
    generator = np.random.default_rng(0)
    draws, layers = 1400, 2
    for _ in range(draws):
        randaugment.distorted(np.zeros((1, 1, 3), np.uint8), layers, 4, generator)
    assert len(seen) == draws * layers
    for layer in range(layers):
        counts = collections.Counter(seen[layer::layers])
        assert set(counts) == {(name, sign) for name in OPERATIONS for sign in SIGNS}
        # 50 expected of each; five standard deviations are 35.
        assert all(abs(count - draws / 28) < 35 for count in counts.values())
    # Also of neighbours: the second does not follow from the first.
    pairs = {(first[0], second[0]) for first, second in zip(seen[::2], seen[1::2], strict=True)}
    assert len(pairs) > 0.95 * 14**2
