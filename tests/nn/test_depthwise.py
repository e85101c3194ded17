import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from mnv2_jax.nn.depthwise import depthwise_conv, output_size, pad_width

SIDES = st.sampled_from([1, 3, 5, 7])
STRIDES = st.sampled_from([1, 2])
PADDINGS = st.sampled_from(["SAME", "SYMMETRIC"])


def reference(x, kernel, stride, padding):
    """XLA's own grouped convolution; it, not `pad_width`, decides what "SAME" is."""
    side = kernel.shape[0]
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None, :],
        (stride, stride),
        "SAME" if padding == "SAME" else [(side // 2, side // 2)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def with_gradients(convolve, x, kernel, stride, padding):
    """The output, and the gradients of a weighted sum of it that treats no two pixels alike."""
    y, pull = jax.vjp(lambda x, kernel: convolve(x, kernel, stride, padding), x, kernel)
    weights = np.random.default_rng(1).normal(size=y.shape).astype(x.dtype)
    return y, *pull(jnp.asarray(weights))


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape)


@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 20),
    st.integers(1, 9),
    st.integers(1, 3),
    SIDES,
    STRIDES,
    PADDINGS,
)
@example(2, 1, 1, 2, 3, 1, "SAME")
@example(2, 1, 1, 2, 7, 2, "SYMMETRIC")
@example(1, 2, 3, 1, 5, 2, "SAME")
@example(1, 2, 3, 1, 3, 2, "SYMMETRIC")
@example(2, 8, 8, 3, 3, 2, "SAME")
@example(2, 8, 8, 3, 3, 2, "SYMMETRIC")
@example(1, 33, 2, 2, 3, 1, "SAME")
@example(1, 37, 4, 1, 3, 2, "SYMMETRIC")
def test_output_and_gradients_match_the_grouped_convolution(
    batch, height, width, channels, side, stride, padding
):
    def both(x, kernel):
        return [
            with_gradients(convolve, x, kernel, stride, padding)
            for convolve in (depthwise_conv, reference)
        ]

    with jax.enable_x64(True):
        compiled = jax.jit(both)
        ours, theirs = compiled(draw(batch, height, width, channels), draw(side, side, channels))
        for actual, expected in zip(ours, theirs, strict=True):
            assert actual.dtype == jnp.float64
            assert actual.shape == expected.shape
            np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@given(st.integers(1, 300), SIDES, STRIDES, PADDINGS)
def test_padding_gives_one_output_for_every_stride_of_input(size, side, stride, padding):
    low, high = pad_width(size, side, stride, padding)
    assert 0 <= low <= high <= side // 2 + 1
    assert (size + low + high - side) // stride + 1 == output_size(size, stride)


def test_lanes_agree_with_one_by_one():
    x = draw(3, 2, 5, 6, 4).astype(np.float32)
    kernel = draw(3, 3, 3, 4).astype(np.float32)
    one = functools.partial(with_gradients, depthwise_conv, stride=2, padding="SAME")
    together = jax.jit(jax.vmap(one))(x, kernel)
    one_by_one = jax.jit(lambda x, kernel: lax.map(lambda lane: one(*lane), (x, kernel)))(x, kernel)
    on_devices = jax.pmap(one)(x[:2], kernel[:2])
    for batched, mapped, spread in zip(together, one_by_one, on_devices, strict=True):
        np.testing.assert_allclose(batched, mapped, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(spread, mapped[:2], rtol=1e-5, atol=1e-5)


def test_memory_of_the_gradients_stays_a_few_times_the_image():
    x = jax.ShapeDtypeStruct((1, 112, 112, 8), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 8), jnp.float32)
    one = functools.partial(with_gradients, depthwise_conv, stride=1, padding="SAME")
    compiled = jax.jit(one).lower(x, kernel).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 16 * x.size * 4


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "message"),
    [
        ((2, 2, 3), 1, "SAME", r"kernel shape \(2, 2, 3\): expected \(k, k, 3\) with k odd"),
        ((3, 1, 3), 1, "SAME", r"expected \(k, k, 3\)"),
        ((3, 3, 4), 1, "SAME", r"expected \(k, k, 3\)"),
        ((3, 3, 3), 3, "SAME", "stride=3: expected one of 1, 2"),
        ((3, 3, 3), 1, "VALID", "padding='VALID': expected one of SAME, SYMMETRIC"),
    ],
)
def test_wrong_arguments_are_named(kernel, stride, padding, message):
    with pytest.raises(ValueError, match=message):
        depthwise_conv(jnp.zeros((1, 4, 4, 3)), jnp.zeros(kernel), stride, padding)
