import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax.data import augment


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
    shifted = np.asarray(augment.random_shift(jax.random.split(jax.random.key(3), 50), images, 1))
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
    shifted = np.asarray(
        augment.random_shift(jax.random.split(jax.random.key(0), 9000), jnp.asarray(dot), 1)
    )
    counts = shifted[:, 1:4, 1:4, 0].sum(0, dtype=int).ravel()
    assert counts.sum() == 9000
    # 1000 expected in each cell; five standard deviations are 149.
    assert np.abs(counts - 1000).max() < 149
