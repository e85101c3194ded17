import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mnv2_jax.nn import convolution
from mnv2_jax.nn.convolution import conv

# Every shape is a program of its own, compiled to run once.
FEW, MANY = convolution._FEW_CHANNELS, convolution._FEW_CHANNELS + 1


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def reference(x, kernel, stride, padding):
    """XLA's own convolution; it, not `pad_width`, decides what "SAME" is."""
    pads = "SAME" if padding == "SAME" else [(kernel.shape[0] // 2,) * 2] * 2
    order = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=order)


def with_gradients(convolve, x, kernel, stride, padding):
    """The output, and the gradients of a weighted sum of it that treats no two pixels alike."""
    y, pull = jax.vjp(lambda x, kernel: convolve(x, kernel, stride, padding), x, kernel)
    return y, *pull(jnp.asarray(draw(*y.shape, seed=1), x.dtype))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "SYMMETRIC"])
@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 3), (7, 4, 3), (1, 2, 5), (6, 5, 1)])
@pytest.mark.parametrize("channels", [FEW, MANY])
def test_both_ways_are_the_full_convolution(channels, height, width, side, stride, padding):
    def both(x, kernel):
        return [with_gradients(f, x, kernel, stride, padding) for f in (conv, reference)]

    with jax.enable_x64(True):
        arguments = draw(2, height, width, channels), draw(side, side, channels, 3, seed=2)
        ours, theirs = jax.jit(both)(*arguments)
        for actual, expected in zip(ours, theirs, strict=True):
            assert actual.dtype == jnp.float64
            np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shared_kernel", [False, True])
def test_lanes_agree_with_one_by_one_and_make_no_grouped_convolution(shared_kernel):
    x = draw(2, 2, 6, 5, MANY).astype(np.float32)
    kernel = draw(2, 3, 3, MANY, 4, seed=1).astype(np.float32)

    def one(x, kernel):
        return with_gradients(conv, x, kernel, 2, "SAME")

    if shared_kernel:
        kernel = kernel[0]
        together = jax.jit(jax.vmap(one, in_axes=(0, None)))
        one_by_one = jax.jit(lambda x, kernel: lax.map(lambda x: one(x, kernel), x))
    else:
        together = jax.jit(jax.vmap(one))
        one_by_one = jax.jit(lambda *lanes: lax.map(lambda lane: one(*lane), lanes))
    for batched, mapped in zip(together(x, kernel), one_by_one(x, kernel), strict=True):
        np.testing.assert_allclose(batched, mapped, rtol=1e-4, atol=1e-4)
    assert "convolution(" in one_by_one.lower(x, kernel).as_text("hlo")
    assert "convolution(" not in together.lower(x, kernel).as_text("hlo")


def test_lanes_on_devices_agree_with_one_by_one():
    x = draw(2, 2, 6, 5, MANY).astype(np.float32)
    kernel = draw(2, 3, 3, MANY, 4, seed=1).astype(np.float32)

    def one(x, kernel):
        return with_gradients(conv, x, kernel, 1, "SAME")

    spread = jax.pmap(one)(x, kernel)
    for device in range(2):
        for actual, expected in zip(spread, one(x[device], kernel[device]), strict=True):
            np.testing.assert_allclose(actual[device], expected, rtol=1e-4, atol=1e-4)
