import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mnv2_jax import arch
from mnv2_jax.nn import layers
from mnv2_jax.nn.convolution import conv
from mnv2_jax.nn.depthwise import depthwise_conv

EPSILON = 1e-3

# Every shape is a program of its own, compiled to run once.


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def assert_close(actual, expected, tolerance=1e-10):
    def check(left, right):
        assert left.dtype == right.dtype
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)

    jax.tree.map(check, actual, expected)


def with_gradients(function, weights, *arguments):
    """The function's output and the gradients of its sum weighted by `weights`."""

    def run(weights, *arguments):
        y, pull = jax.vjp(function, *arguments)
        return y, pull(weights)

    return jax.jit(run)(weights, *arguments)


def textbook_norm(x, scale, bias):
    mean = x.mean((0, 1, 2))
    variance = jnp.square(x - mean).mean((0, 1, 2))
    return (x - mean) / jnp.sqrt(variance + EPSILON) * scale + bias


def norm(x, scale, bias):
    return layers.normalise(x, scale, bias, EPSILON)[0]


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (64, 8, 8, 2), (1, 1, 1, 4), (3, 1, 2, 1)])
def test_batch_norm_in_training_and_its_gradients_match_the_textbook(shape):
    with jax.enable_x64(True):
        arguments = (2.0 + 3.0 * draw(*shape), draw(shape[-1], seed=1), draw(shape[-1], seed=2))
        weights = draw(*shape, seed=3)
        assert_close(
            with_gradients(norm, weights, *arguments),
            with_gradients(textbook_norm, weights, *arguments),
        )


@pytest.mark.parametrize("parts", [2, 3])
def test_batch_norm_of_a_batch_in_parts_matches_the_whole_batch(parts):
    def run(axis_name, x, scale, bias, weights):
        def normalise(x, scale, bias):
            y, *moments = layers.normalise(x, scale, bias, EPSILON, axis_name)
            return y, moments

        y, pull, moments = jax.vjp(normalise, x, scale, bias, has_aux=True)
        return y, moments, pull(weights)

    def in_parts(x, scale, bias, weights):
        x, weights = (value.reshape(parts, -1, *value.shape[1:]) for value in (x, weights))
        in_axes = (0, None, None, 0)
        mapped = jax.vmap(functools.partial(run, "batch"), in_axes, axis_name="batch")
        y, moments, (dx, d_scale, d_bias) = mapped(x, scale, bias, weights)
        y, dx = (value.reshape(-1, *value.shape[2:]) for value in (y, dx))
        return y, [value[-1] for value in moments], (dx, d_scale.sum(0), d_bias.sum(0))

    with jax.enable_x64(True):
        x, scale, bias = 2.0 + 3.0 * draw(6, 4, 5, 3), draw(3, seed=1), draw(3, seed=2)
        weights = draw(6, 4, 5, 3, seed=3)
        whole = functools.partial(run, None)
        assert_close(*(jax.jit(f)(x, scale, bias, weights) for f in (in_parts, whole)))


def test_batch_norm_of_constant_channels_is_its_bias():
    x = jnp.full((4, 3, 3, 2), 5.0)
    y = norm(x, jnp.ones(2), jnp.array([1.0, -2.0]))
    np.testing.assert_allclose(y, jnp.broadcast_to(jnp.array([1.0, -2.0]), x.shape), atol=1e-3)


def test_running_moments_move_by_one_minus_momentum_with_unbiased_variance():
    module = layers.BatchNorm(momentum=0.75)
    with jax.enable_x64(True):
        x = 1.0 + 2.0 * draw(2, 3, 2, 3)
        variables = {
            "params": {"scale": np.ones(3), "bias": np.zeros(3)},
            "batch_stats": {"mean": draw(3, seed=1), "var": 1.0 + draw(3, seed=2) ** 2},
        }
        _, updated = module.apply(variables, x, train=True, mutable=["batch_stats"])
        before = variables["batch_stats"]
        pixels = x.reshape(-1, 3)
        expected = {
            "mean": 0.75 * before["mean"] + 0.25 * pixels.mean(0),
            "var": 0.75 * before["var"] + 0.25 * pixels.var(0, ddof=1),
        }
        assert_close(updated["batch_stats"], expected)


def test_initialising_leaves_the_running_moments_alone():
    variables = layers.BatchNorm().init(jax.random.key(0), draw(4, 2, 2, 3), train=True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(3))


def test_one_pixel_keeps_the_running_variance_finite():
    module = layers.BatchNorm()
    x = jnp.ones((1, 1, 1, 3))
    variables = module.init(jax.random.key(0), x, train=True)
    _, updated = module.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(updated["batch_stats"]["var"], np.full(3, 0.9))


def test_inference_uses_the_running_moments_alone():
    module = layers.BatchNorm()
    with jax.enable_x64(True):
        x, scale, bias = draw(2, 3, 3, 4), draw(4, seed=1), draw(4, seed=2)
        mean, variance = draw(4, seed=3), 0.5 + draw(4, seed=4) ** 2
        variables = {
            "params": {"scale": scale, "bias": bias},
            "batch_stats": {"mean": mean, "var": variance},
        }
        expected = (x - mean) / np.sqrt(variance + EPSILON) * scale + bias
        assert_close(module.apply(variables, x, train=False), expected)


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((2, 4, 3, 5), 3), ((2, 4, 3, 5), 9), ((1, 1, 1, 2), 1), ((3, 2, 2, 1), 3)],
)
def test_pointwise_is_a_matrix_product_over_channels(shape, channels):
    with jax.enable_x64(True):
        arguments = (draw(*shape), draw(shape[-1], channels, seed=1))
        weights = draw(*shape[:-1], channels, seed=2)
        assert_close(
            with_gradients(layers.pointwise, weights, *arguments),
            with_gradients(lambda x, kernel: x @ kernel, weights, *arguments),
        )


@pytest.mark.parametrize(
    ("layer", "operator", "shape"),
    [
        (layers.Conv(4, 5, 2, "SYMMETRIC"), conv, (5, 5, 3, 4)),
        (layers.Depthwise(5, 2, "SYMMETRIC"), depthwise_conv, (5, 5, 3)),
    ],
)
def test_layers_call_their_operators(layer, operator, shape):
    x, kernel = draw(2, 6, 5, 3).astype(np.float32), draw(*shape, seed=1).astype(np.float32)
    y = layer.apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_array_equal(y, operator(x, kernel, 2, "SYMMETRIC"))


def test_lanes_agree_with_one_by_one():
    weights = draw(2, 4, 4, 5, seed=3).astype(np.float32)

    def one(x, kernel, scale, bias):
        y, pull = jax.vjp(
            lambda *arguments: norm(layers.pointwise(*arguments[:2]), *arguments[2:]),
            x,
            kernel,
            scale,
            bias,
        )
        return y, pull(weights)

    lanes = tuple(
        value.astype(np.float32)
        for value in (draw(3, 2, 4, 4, 3), draw(3, 3, 5), draw(3, 5, seed=1), draw(3, 5, seed=2))
    )
    together = jax.jit(jax.vmap(one))(*lanes)
    one_by_one = jax.jit(lambda *lanes: lax.map(lambda lane: one(*lane), lanes))(*lanes)
    assert_close(together, one_by_one, tolerance=1e-4)


def test_activations():
    expected = {
        "relu6": [0.0, 0.0, 3.0, 6.0],
        "relu": [0.0, 0.0, 3.0, 9.0],
        "silu": [-2 / (1 + np.e**2), 0.0, 3 / (1 + np.e**-3), 9 / (1 + np.e**-9)],
        "hard_swish": [-1 / 3, 0.0, 3.0, 9.0],
    }
    assert set(expected) == set(arch.ACTIVATIONS)
    x = jnp.array([-2.0, 0.0, 3.0, 9.0])
    for name, values in expected.items():
        np.testing.assert_allclose(layers.activate(name, x), values, rtol=1e-6, err_msg=name)


def test_squeeze_excite_gates_channels_by_their_means():
    module = layers.SqueezeExcite(divisor=1)
    with jax.enable_x64(True):
        x = draw(2, 3, 3, 8)
        reduce, gate = draw(8, 2, seed=1), draw(2, 8, seed=2)
        params = {
            "reduce": {"kernel": reduce, "bias": np.full(2, 0.5)},
            "gate": {"kernel": gate, "bias": np.full(8, -0.5)},
        }
        hidden = np.maximum(x.mean((1, 2)) @ reduce + 0.5, 0)
        scale = np.clip((hidden @ gate - 0.5 + 3) / 6, 0, 1)
        assert_close(module.apply({"params": params}, x), jnp.asarray(x * scale[:, None, None]))


@pytest.mark.parametrize("train", [False, True])
def test_bfloat16_is_computed_in_bfloat16_and_its_moments_in_float32(train):
    module = layers.BatchNorm()
    x = (100 + jnp.asarray(draw(64, 4, 4, 2))).astype(jnp.bfloat16)
    variables = module.init(jax.random.key(0), x, train=False)
    y, updated = module.apply(variables, x, train=train, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    mean = updated["batch_stats"]["mean"]
    assert mean.dtype == jnp.float32
    expected = 0.1 * np.asarray(x, np.float64).mean((0, 1, 2)) if train else np.zeros(2)
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
