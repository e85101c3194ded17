import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnv2_jax.train import recipe


def test_the_schedule_is_half_a_cosine():
    schedule = recipe.cosine(0.2, 100)
    steps = np.array([0, 25, 50, 99, 100])
    expected = 0.1 * (1 + np.cos(np.pi * steps / 100))
    np.testing.assert_allclose([schedule(step) for step in steps], expected, atol=1e-7)


def test_sgd_is_nesterovs_momentum_with_decay_on_kernels_alone():
    params = {"a": {"bias": jnp.array([1.0]), "kernel": jnp.array([2.0])}}
    decayed = np.array([0.0, 1.0], np.float32)
    mask = recipe.kernel_mask(params)
    assert jax.tree.leaves(mask) == [0.0, 1.0]
    optimizer = recipe.sgd(0.1, 0.5, decayed, momentum=0.9, steps=10)
    x = np.array([1.0, 2.0])
    velocity = np.zeros(2)
    state = optimizer.init(jnp.asarray(x))
    for step in range(3):
        gradient = np.array([0.3, -0.2])
        updates, state = optimizer.update(jnp.asarray(gradient), state, jnp.asarray(x))
        pull = gradient + 0.5 * decayed * x
        velocity = 0.9 * velocity + pull
        rate = 0.05 * (1 + np.cos(np.pi * step / 10))
        expected = x - rate * (pull + 0.9 * velocity)
        x = np.asarray(optax.apply_updates(jnp.asarray(x), updates))
        np.testing.assert_allclose(x, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs=0: expected a whole number, 1 or more"),
        ({"batch_size": -4}, "batch_size=-4: expected a whole number, 1 or more"),
        ({"momentum": 1.0}, "momentum=1.0: expected 0 or more, below 1"),
        ({"shift": -1}, "shift=-1: expected 0 or more pixels"),
    ],
)
def test_a_wrong_value_is_named(change, message):
    right = {
        "epochs": 1,
        "batch_size": 8,
        "evaluation_batch_size": 8,
        "momentum": 0.9,
        "shift": 0,
    }
    with pytest.raises(ValueError, match=f"^{message}$"):
        recipe.Recipe(**{**right, **change})
