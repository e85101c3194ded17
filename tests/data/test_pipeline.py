import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnv2_jax.data import pipeline, rng
from mnv2_jax.data.augmentation import Augmentation

AUGMENTED = Augmentation(shift=1, flip=True, brightness=0.2, cutout=2, mixup=0.2)


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
    order = jnp.asarray(rng.epoch_order(seed, epoch, 50))
    rows = jnp.arange(batch_size)
    batches = [
        pipeline.train_batch(
            key,
            jnp.int32(epoch * steps + step),
            rows,
            order[step * batch_size + rows],
            (jnp.asarray(numbered[0]), jnp.asarray(numbered[1])),
            Augmentation(shift=shift),
            "symmetric",
            50,
        )
        for step in range(steps)
    ]
    return tuple(np.stack(part) for part in zip(*batches, strict=True))


def test_an_epoch_draws_every_image_once_but_for_the_remainder(numbered):
    images, labels, targets = draw(numbered)
    np.testing.assert_array_equal(targets, np.eye(50)[labels])
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

    @jax.jit
    def part(rows):
        return pipeline.train_batch(
            key, jnp.int32(7), rows, chosen[rows], data, AUGMENTED, "symmetric", 50
        )

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
