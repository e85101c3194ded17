import collections
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from mnv2_jax.data import augment, pipeline
from mnv2_jax.data.augmentation import Augmentation


def keys_of(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


shift = jax.jit(augment.random_shift, static_argnums=2)
rotation = jax.jit(augment.random_rotation)
cutout = jax.jit(augment.random_cutout, static_argnums=2)
mixup = jax.jit(augment.mixed_up)


@pytest.fixture(scope="module")
def numbered():
    """Images that differ."""
    images = np.zeros((50, 4, 4, 1), np.uint8)
    images[:, 1:3, 1:3] = np.arange(50)[:, None, None, None] + 1
    return images


def test_scaling_reaches_both_ends():
    scaled = augment.scale(jnp.array([[0], [255]], jnp.uint8), "symmetric")
    np.testing.assert_array_equal(scaled, [[-1.0], [1.0]])


def test_shifts_are_whole_pixels_with_black_moving_in(numbered):
    images = jnp.asarray(numbered)
    shifted = np.asarray(shift(keys_of(50, 3), images, 1))
    seen = set()
    for image, result in zip(np.asarray(images), shifted, strict=True):
        padded = np.pad(image[..., 0], 1)
        matches = [
            (row, column)
            for row in range(3)
            for column in range(3)
            if np.array_equal(padded[row : row + 4, column : column + 4], result[..., 0])
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 9


def test_shifts_are_drawn_evenly():
    dot = np.zeros((9000, 5, 5, 1), np.uint8)
    dot[:, 2, 2] = 1
    shifted = np.asarray(shift(keys_of(9000), jnp.asarray(dot), 1))
    counts = shifted[:, 1:4, 1:4, 0].sum(0, dtype=int).ravel()
    assert counts.sum() == 9000
    # 1000 expected in each cell; five standard deviations are 149.
    assert np.abs(counts - 1000).max() < 149


@pytest.mark.parametrize("channels", [1, 3])
def test_scaling_by_imagenet_s_moments_is_theirs(channels):
    images = noise(2, 4, 5, channels)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    if channels == 1:
        mean, deviation = mean.mean(), deviation.mean()
    expected = (images / 255 - mean) / deviation
    scaled = augment.scale(jnp.asarray(images), "imagenet")
    assert scaled.dtype == jnp.float32
    np.testing.assert_allclose(scaled, expected, atol=2e-6)
    np.testing.assert_allclose(augment.unscale(scaled, "imagenet"), images, atol=1e-4)


def test_every_second_image_is_mirrored():
    count = 4000
    images = np.broadcast_to(noise(1, 3, 4, 2), (count, 3, 4, 2))
    flipped = np.asarray(jax.jit(augment.random_flip)(keys_of(count), jnp.asarray(images)))
    assert flipped.dtype == np.uint8
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    kept = (flipped == images).all((1, 2, 3))
    assert (mirrored ^ kept).all()
    # Five standard deviations.
    assert abs(mirrored.sum() - count / 2) < 5 * np.sqrt(count / 4)


def angle_drawn(key, degrees):
    return degrees * float(jax.random.uniform(key, minval=-1.0))


@pytest.mark.parametrize("size", [5, 6])
def test_a_quarter_turn_is_exact(size):
    key = next(key for key in keys_of(20) if abs(angle_drawn(key, 1)) > 0.5)
    share = angle_drawn(key, 1)
    image = noise(1, size, size, 3)
    for quarters in (1, -1):
        # Negative degrees turn the other way: no image has its sign to choose.
        turned = rotation(key[None], image, quarters * 90 / share)
        np.testing.assert_allclose(turned[0], np.rot90(image[0], quarters), atol=0.01)


def test_rotation_is_that_of_scipy_about_the_centre():
    keys, images = keys_of(6), noise(6, 9, 6, 2)
    turned = np.asarray(rotation(keys, images, 40.0))
    centre = np.array([4.0, 2.5])
    for key, image, result in zip(keys, images, turned, strict=True):
        angle = np.deg2rad(angle_drawn(key, 40.0))
        matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        for channel in range(2):
            expected = scipy.ndimage.affine_transform(
                image[..., channel].astype(float),
                matrix,
                centre - matrix @ centre,
                order=1,
                mode="grid-constant",  # black begins half a pixel outside, without an edge
            )
            np.testing.assert_allclose(result[..., channel], expected, atol=0.01)


def test_rotation_draws_angles_evenly_up_to_the_largest():
    count, degrees = 2000, 30.0
    images = np.zeros((count, 21, 21, 1), np.uint8)
    images[:, 10, 19] = 200  # nine pixels to the right of the centre
    turned = np.asarray(rotation(keys_of(count), images, degrees))[..., 0]
    rows, columns = np.mgrid[:21, :21] - 10
    mass = turned.sum((1, 2))
    y, x = ((place * turned).sum((1, 2)) / mass for place in (rows, columns))
    angles = np.rad2deg(np.arctan2(-y, x))  # rows count downwards
    # Interpolation moves the centre of mass a little.
    assert degrees - 1 < angles.max() < degrees + 0.5
    assert -degrees - 0.5 < angles.min() < 1 - degrees
    # Five standard deviations of a mean of angles between both ends.
    assert abs(angles.mean()) < 5 * degrees / np.sqrt(3 * count)
    assert abs((abs(angles) < degrees / 2).mean() - 0.5) < 5 * np.sqrt(0.25 / count)


def test_black_moves_in_at_corners_and_nothing_else_changes_a_plain_image():
    images = np.full((8, 16, 16, 1), 200, np.uint8)
    np.testing.assert_array_equal(rotation(keys_of(8), images, 0.0), images)
    turned = np.asarray(rotation(keys_of(8), images, 45.0))
    np.testing.assert_allclose(turned[:, 4:12, 4:12], 200, atol=0.01)
    assert turned.min() == 0
    assert turned.max() <= 200.01


@pytest.mark.parametrize("side", [1, 2, 3, 20])
def test_cutout_blanks_squares_around_evenly_drawn_centres(side):
    count, height, width = 4000, 5, 4
    images = np.random.default_rng(0).uniform(1, 2, (count, height, width, 2)).astype(np.float32)
    result = np.asarray(cutout(keys_of(count), images, side))
    assert ((result == images) | (result == 0)).all()
    # What an independent loop blanks out for each centre, cut off at the border.
    expected: dict[bytes, int] = {}
    for row in range(height):
        for column in range(width):
            hole = np.ones((height, width, 2), np.float32)
            top, left = row - side // 2, column - side // 2
            hole[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
            expected[hole.tobytes()] = expected.get(hole.tobytes(), 0) + 1
    seen = collections.Counter(image.tobytes() for image in (result > 0).astype(np.float32))
    assert set(seen) == set(expected)
    for blanked, centres in expected.items():
        share = centres / (height * width)
        sigma = np.sqrt(count * share * (1 - share))
        assert abs(seen[blanked] - count * share) <= 5 * sigma


def mixed(alpha):
    images = np.random.default_rng(0).normal(size=(512, 2, 2, 1)).astype(np.float32)
    return images, *mixup(keys_of(512), images, jnp.eye(512), alpha)


def test_mixup_averages_images_and_targets_of_pairs():
    images, result, targets = mixed(0.5)
    targets = np.asarray(targets)
    partners = np.arange(512).reshape(256, 2)[:, ::-1].ravel()
    own = np.diag(targets)
    assert ((own >= 0.5) & (own <= 1)).all()
    assert len(set(own)) > 500  # drawn image by image
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(targets[range(512), partners], 1 - own, rtol=1e-6)
    weight = own[:, None, None, None]
    np.testing.assert_allclose(
        result, weight * images + (1 - weight) * images[partners], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_draws_weights_from_the_beta_distribution(alpha):
    targets = mixed(alpha)[2]
    own = np.diag(targets)
    # The larger of a weight and what it leaves: the distribution beyond a half, twice.
    beta = scipy.stats.beta(alpha, alpha)
    _, chance = scipy.stats.kstest(own, lambda x: 2 * beta.cdf(x) - 1)
    assert chance > 1e-6


DEVICE = {
    "shift": 1,
    "flip": True,
    "rotation": 10.0,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.2,
    "hue": 0.1,
    "cutout": 2,
    "mixup": 0.2,
}


def only(**values: Any):
    return Augmentation(**values)


def program(augmentation):
    """The jaxpr of `train_batch`."""

    def batch(key, images):
        data = images, jnp.zeros(4, jnp.int32)
        return pipeline.train_batch(
            key, jnp.int32(0), jnp.arange(4), jnp.arange(4), data, augmentation, "symmetric", 3
        )

    images = jnp.zeros((4, 6, 6, 3), jnp.uint8)
    return str(jax.make_jaxpr(batch)(jax.random.key(0), images))


def test_an_augmentation_that_is_off_adds_nothing_to_the_program():
    plain = program(Augmentation())
    assert "random" not in plain
    # One that is on does.
    for name, value in DEVICE.items():
        assert "random" in program(only(**{name: value})), name
    # The host applies these.
    host = only(crop_area=0.1, randaugment_layers=2, randaugment_magnitude=3)
    assert program(host) == plain


def applied(augmentation, images, drawn=None):
    """Return augmented images, 0 to 255, and append the names of streams to `drawn`."""

    def keys(name):
        if drawn is not None:
            drawn.append(name)
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
            pipeline.stream(jax.random.key(0), name), jnp.arange(len(images))
        )

    scaled, _ = augment.augmented(
        augmentation, "symmetric", keys, images, jnp.zeros(len(images), jnp.int32), 2
    )
    return jnp.round(augment.unscale(scaled, "symmetric"))


def test_each_draw_has_a_stream_of_its_own():
    drawn: list[str] = []
    jax.eval_shape(lambda x: applied(only(**DEVICE), x, drawn), jnp.zeros((4, 6, 6, 3), jnp.uint8))
    # In the order of the fields, which is the order that is documented.
    fields = [field.name for field in dataclasses.fields(Augmentation)]
    assert drawn == [name for name in fields if name in DEVICE]


def test_a_draw_does_not_depend_on_what_else_is_on():
    images = noise(16, 6, 6, 1)
    shifted, flipped, both = (
        np.asarray(jax.jit(applied, static_argnums=0)(only(**on), images))
        for on in ({"shift": 2}, {"flip": True}, {"shift": 2, "flip": True})
    )
    kept = (both == shifted).all((1, 2, 3))
    mirrored = (both == shifted[:, :, ::-1]).all((1, 2, 3))
    assert (kept | mirrored).all()
    assert 0 < kept.sum() < 16
    np.testing.assert_array_equal((flipped == images).all((1, 2, 3)), kept)
