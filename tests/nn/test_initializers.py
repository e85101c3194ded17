import math

import jax
import numpy as np
import pytest

from mnv2_jax import arch
from mnv2_jax.nn import initializers

STEM, POINTWISE, DEPTHWISE = (3, 3, 3, 512), (64, 512), (3, 3, 2048)


def drawn(init, shape, seed=0):
    return np.asarray(init(jax.random.key(seed), shape))


def test_every_convention_has_its_initializers():
    assert set(initializers.KERNELS) == set(arch.INITIALIZERS)
    assert set(initializers.CLASSIFIERS) == set(arch.INITIALIZERS)


# The fan-out of a depthwise kernel: one output per channel for He, all of them for PyTorch. A
# normal distribution cut at two deviations keeps 0.8796 of its own.
@pytest.mark.parametrize(
    ("name", "shape", "deviation"),
    [
        ("he_normal", STEM, math.sqrt(2 / (9 * 512))),
        ("he_normal", POINTWISE, math.sqrt(2 / 512)),
        ("he_normal", DEPTHWISE, math.sqrt(2 / 9)),
        ("kaiming_normal", STEM, math.sqrt(2 / (9 * 512))),
        ("kaiming_normal", POINTWISE, math.sqrt(2 / 512)),
        ("kaiming_normal", DEPTHWISE, math.sqrt(2 / (9 * 2048))),
        ("glorot_uniform", STEM, math.sqrt(2 / (9 * (3 + 512)))),
        ("glorot_uniform", POINTWISE, math.sqrt(2 / (64 + 512))),
        ("glorot_uniform", DEPTHWISE, math.sqrt(2 / (9 * (2048 + 1)))),
        ("truncated_normal", STEM, 0.09 * 0.8796),
        ("truncated_normal", DEPTHWISE, 0.09 * 0.8796),
    ],
)
def test_deviations(name, shape, deviation):
    weights = drawn(initializers.KERNELS[name], shape)
    assert weights.shape == shape
    assert weights.dtype == np.float32
    assert weights.std() == pytest.approx(deviation, rel=0.03)
    assert abs(weights.mean()) < 0.03 * deviation


def test_bounds():
    assert np.abs(drawn(initializers.KERNELS["truncated_normal"], STEM)).max() <= 2 * 0.09
    uniform = drawn(initializers.glorot_uniform, POINTWISE)
    assert np.abs(uniform).max() <= math.sqrt(6 / (64 + 512))


@pytest.mark.parametrize("name", initializers.KERNELS)
def test_a_key_decides_and_batched_keys_draw_as_single_ones(name):
    init = initializers.KERNELS[name]
    one, again, other = (drawn(init, (4, 5), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    keys = jax.vmap(jax.random.key)(np.arange(2))
    both = jax.vmap(lambda key: init(key, (4, 5)))(keys)
    np.testing.assert_array_equal(both, [one, other])
