import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_jax.data import augment, pipeline
from mnv2_jax.data.sources import Split


@pytest.fixture(scope="module")
def numbered():
    """Images that carry their index, so that what was drawn can be read off."""
    images = np.zeros((50, 4, 4, 1), np.uint8)
    images[:, 1:3, 1:3] = np.arange(50)[:, None, None, None] + 1
    return images, np.arange(50, dtype=np.int32)


def draw(numbered, seed=0, epoch=0, batch_size=16, shift=0):
    """All batches of an epoch, `[steps, batch, ...]`."""
    key = jax.random.key(seed)
    steps = 50 // batch_size
    order = pipeline.epoch_order(key, jnp.int32(epoch), 50)
    rows = jnp.arange(batch_size)
    batches = [
        pipeline.train_batch(
            key,
            jnp.int32(epoch * steps + step),
            rows,
            order[step * batch_size + rows],
            (jnp.asarray(numbered[0]), jnp.asarray(numbered[1])),
            shift,
        )
        for step in range(steps)
    ]
    return tuple(np.stack(part) for part in zip(*batches, strict=True))


def test_an_epoch_draws_every_image_once_but_for_the_remainder(numbered):
    images, labels = draw(numbered)
    assert images.shape == (3, 16, 4, 4, 1)
    assert len(set(labels.ravel().tolist())) == 48
    index = np.round((np.asarray(images)[..., 1, 1, 0] + 1) * 127.5) - 1
    np.testing.assert_array_equal(index, labels)


def test_the_order_depends_on_seed_and_epoch_alone(numbered):
    labels = [
        np.asarray(draw(numbered, seed, epoch)[1]) for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    ]
    np.testing.assert_array_equal(labels[0], draw(numbered, 0, 0)[1])
    assert not np.array_equal(labels[0], labels[1])
    assert not np.array_equal(labels[0], labels[2])
    # Augmentation draws from a stream of its own: it does not disturb the order.
    np.testing.assert_array_equal(labels[0], draw(numbered, 0, 0, shift=1)[1])


def test_a_batch_in_parts_is_the_whole_batch(numbered):
    data = jnp.asarray(numbered[0]), jnp.asarray(numbered[1])
    key, chosen = jax.random.key(0), jnp.arange(10, 26)

    def part(rows):
        return pipeline.train_batch(key, jnp.int32(7), rows, chosen[rows], data, 1)

    halves = [part(jnp.arange(start, start + 8)) for start in (0, 8)]
    for whole, parts in zip(part(jnp.arange(16)), zip(*halves, strict=True), strict=True):
        np.testing.assert_array_equal(whole, jnp.concatenate(parts))


def test_what_is_left_out_changes_from_epoch_to_epoch(numbered):
    missing = [
        frozenset(range(50)) - frozenset(np.asarray(draw(numbered, 0, epoch)[1]).ravel().tolist())
        for epoch in range(6)
    ]
    assert all(len(left) == 2 for left in missing)
    assert len(set(missing)) > 1


def test_scaling_reaches_both_ends():
    scaled = augment.scale(jnp.array([0, 255], jnp.uint8))
    np.testing.assert_array_equal(scaled, [-1.0, 1.0])


def test_shifts_are_whole_pixels_with_black_moving_in(numbered):
    images = jnp.asarray(numbered[0])
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


def test_no_shift_changes_nothing(numbered):
    images = jnp.asarray(numbered[0])
    assert augment.random_shift(jax.random.split(jax.random.key(3), 50), images, 0) is images


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


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_evaluation_covers_every_image_exactly_once(count, batch_size):
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    batches = pipeline.evaluation_batches(Split(images, np.arange(count)), batch_size)
    assert {batch[0].shape for batch in batches} == {(batch_size, 1, 1, 1)}
    kept = np.concatenate([labels[weights == 1] for _, labels, weights in batches])
    np.testing.assert_array_equal(kept, np.arange(count))
    assert all(np.array_equal(image[:, 0, 0, 0], label) for image, label, _ in batches)
