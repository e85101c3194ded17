import jax
import jax.numpy as jnp
import numpy as np

from mnv2_jax.data import pipeline
from mnv2_jax.data.augmentation import Augmentation

AUGMENTED = Augmentation(shift=1, flip=True, brightness=0.2, cutout=2, mixup=0.2)
COUNT = 50


def batch(rows, chosen, augmentation, step=7):
    """A batch of images whose brightness and label are their number."""
    numbers = jnp.arange(COUNT)
    images = jnp.broadcast_to(numbers[:, None, None, None], (COUNT, 4, 4, 1)).astype(jnp.uint8)
    return pipeline.train_batch(
        jax.random.key(0),
        jnp.int32(step),
        rows,
        chosen,
        (images, numbers.astype(jnp.int32)),
        augmentation,
        "symmetric",
        COUNT,
    )


def test_a_batch_holds_the_chosen_images_with_labels_and_targets():
    chosen = jnp.array([3, 0, 49, 7])
    images, labels, targets = batch(jnp.arange(4), chosen, Augmentation())
    np.testing.assert_array_equal(labels, chosen)
    np.testing.assert_array_equal(targets, np.eye(COUNT)[chosen])
    pixels = np.broadcast_to(chosen[:, None, None, None], (4, 4, 4, 1))
    np.testing.assert_allclose(images, pixels / 127.5 - 1, atol=1e-6)


def test_a_batch_in_parts_is_the_whole_batch():
    chosen = jnp.arange(10, 26)

    @jax.jit
    def part(rows, step):
        return batch(rows, chosen[rows], AUGMENTED, step)

    whole = part(jnp.arange(16), 7)
    halves = [part(jnp.arange(start, start + 8), 7) for start in (0, 8)]
    for array, parts in zip(whole, zip(*halves, strict=True), strict=True):
        np.testing.assert_array_equal(array, jnp.concatenate(parts))
    assert not np.array_equal(whole[0], part(jnp.arange(16), 8)[0])
