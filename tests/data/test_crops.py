import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mnv2_jax.data import crops, randaugment
from mnv2_jax.data.augmentation import Augmentation

SIDES = st.integers(1, 3000)


def noise(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def image_of(pixels):
    return Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])


def smooth(width, height):
    """An image whose neighbouring pixels hardly differ."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([x / width + y / height, y / height - x / width, x / width], -1)
    return image_of(np.uint8(np.round(127.5 + 120 * np.sin(2 * waves))))


def in_two_steps(image, resolution, fraction):
    """The shorter side resized, then the centre cut out: what others do."""
    share = resolution / fraction / min(image.size)
    size = round(image.width * share), round(image.height * share)
    resized = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    left, top = (size[0] - resolution) // 2, (size[1] - resolution) // 2
    pixels = resized[top : top + resolution, left : left + resolution]
    return pixels if pixels.ndim == 3 else pixels[..., None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 45), (46, 32), (33, 32), (32, 33)])
@pytest.mark.parametrize("fraction", [1.0, 0.875])
def test_where_nothing_is_resized_pixels_are_copied(channels, height, width, fraction):
    pixels = noise(height, width, channels)
    side = int(fraction * 32)
    left, top = (width - side) // 2, (height - side) // 2
    crop = crops.evaluation_crop(image_of(pixels), side, fraction * 32 / min(height, width))
    assert crop.dtype == np.uint8
    np.testing.assert_array_equal(crop, pixels[top : top + side, left : left + side])


@pytest.mark.parametrize("channels", [1, 3])
def test_whole_shares_are_resized_and_cut_bit_for_bit(channels):
    image = image_of(noise(64, 96, channels))
    np.testing.assert_array_equal(
        crops.evaluation_crop(image, 16, 0.5), in_two_steps(image, 16, 0.5)
    )


@pytest.mark.parametrize(("width", "height"), [(101, 83), (83, 101), (500, 375), (20, 31), (7, 7)])
@pytest.mark.parametrize(("resolution", "fraction"), [(24, 1.0), (23, 0.875), (56, 0.9)])
def test_at_once_is_as_good_as_in_two_steps(width, height, resolution, fraction):
    image = smooth(width, height)
    expected = in_two_steps(image, resolution, fraction).astype(int)
    # Half a pixel, to which the second step rounds, and a bit for rounding twice.
    slope = max(np.abs(np.diff(expected, axis=axis)).max() for axis in (0, 1))
    crop = crops.evaluation_crop(image, resolution, fraction)
    assert crop.shape == (resolution, resolution, 3)
    assert np.abs(crop - expected).max() <= slope + 2


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3)])
@pytest.mark.parametrize("fraction", [1.0, 0.875, 0.1])
def test_tiny_images_fill_the_view(size, fraction):
    crop = crops.evaluation_crop(Image.new("RGB", size, (1, 2, 3)), 5, fraction)
    np.testing.assert_array_equal(crop, np.tile(np.array([1, 2, 3], np.uint8), (5, 5, 1)))


@given(SIDES, SIDES, st.floats(1e-6, 1), st.integers(0, 2**32))
def test_boxes_are_whole_pixels_inside_of_the_image(width, height, area, seed):
    box = crops.inception_box(width, height, area, np.random.default_rng(seed))
    assert all(isinstance(border, int) for border in box)
    left, top, right, bottom = box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def drawn_boxes(width, height, area, count=1500):
    generator = np.random.default_rng(0)
    boxes = np.array([crops.inception_box(width, height, area, generator) for _ in range(count)])
    left, top, right, bottom = boxes.T
    return left, top, right - left, bottom - top


@pytest.mark.parametrize("area", [0.08, 0.5])
def test_area_and_aspect_are_those_of_draws_that_fit(area):
    width, height = 3000, 2500
    left, top, wide, high = drawn_boxes(width, height, area)
    areas, aspects = wide * high / (width * height), wide / high
    assert areas.min() > area - 0.001
    assert aspects.min() > 0.75 - 0.001
    assert aspects.max() < 4 / 3 + 0.001
    # The same by the thousand, without rounding and without a last resort.
    generator = np.random.default_rng(1)
    shares = generator.uniform(area, 1, 100_000)
    ratios = np.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3), 100_000))
    fits = (shares * ratios <= width / height) & (shares / ratios <= height / width)
    assert 0.5 < fits.mean() < 0.99
    assert scipy.stats.ks_2samp(areas, shares[fits]).pvalue > 1e-6
    assert scipy.stats.ks_2samp(aspects, ratios[fits]).pvalue > 1e-6
    for place, room in ((left, width - wide), (top, height - high)):
        # Even over all places, both ends included.
        assert scipy.stats.kstest((place + 0.5) / (room + 1), "uniform").pvalue > 1e-6


def test_boxes_reach_both_borders():
    left, _, wide, _ = drawn_boxes(4, 4, 0.08, 300)
    for size in (1, 2, 3):
        assert set(left[wide == size]) == set(range(5 - size))


@pytest.mark.parametrize(
    ("width", "height", "area", "box"),
    [
        (1000, 9, 0.08, (494, 0, 506, 9)),
        (9, 1000, 0.08, (0, 494, 9, 506)),
        # The whole image, whose aspect is in the range, but which hardly a draw of this area fits.
        (1000, 1200, 1.0, (0, 0, 1000, 1200)),
    ],
)
def test_where_no_draw_fits_the_box_is_the_largest_in_the_centre(width, height, area, box):
    for seed in range(5):
        assert crops.inception_box(width, height, area, np.random.default_rng(seed)) == box


def test_the_training_view_is_the_drawn_box():
    y, x = np.mgrid[:150, :200].astype(np.uint8)
    image = image_of(np.stack([x, y, 0 * x], -1))
    augmentation = Augmentation(crop_area=0.3)
    for seed in range(5):
        left, top, right, bottom = crops.inception_box(200, 150, 0.3, np.random.default_rng(seed))
        view = crops.training_view(image, 8, 0.875, augmentation, np.random.default_rng(seed))
        # Twenty pixels and more apart; borders of the image move their middles by one and a half.
        middles = (np.arange(8) + 0.5) / 8
        columns, rows = left + middles * (right - left), top + middles * (bottom - top)
        assert np.abs(view[..., 0] - (columns - 0.5)).max() <= 2
        assert np.abs(view[..., 1] - (rows[:, None] - 0.5)).max() <= 2


@pytest.mark.parametrize("channels", [1, 3])
def test_without_a_crop_the_training_view_is_that_of_evaluation(channels):
    image = image_of(noise(21, 30, channels))
    view = crops.training_view(image, 8, 0.875, Augmentation(flip=True), np.random.default_rng(0))
    np.testing.assert_array_equal(view, crops.evaluation_crop(image, 8, 0.875))


def test_randaugment_follows_at_the_network_s_resolution():
    image = image_of(noise(21, 30, 3))
    augmentation = Augmentation(randaugment_layers=2, randaugment_magnitude=7)
    for seed in range(5):
        view = crops.training_view(image, 8, 1.0, augmentation, np.random.default_rng(seed))
        expected = randaugment.distorted(
            crops.evaluation_crop(image, 8, 1.0), 2, 7, np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(view, expected)
