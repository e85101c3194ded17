import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mnv2_jax.nn import convolution
from mnv2_jax.nn.convolution import conv

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


@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 3), (7, 4, 3), (1, 2, 5), (6, 5, 1)])
@pytest.mark.parametrize("channels", [FEW, MANY])
def test_both_methods_match_the_full_convolution(channels, height, width, side):
    def all_ways(convolve, x, kernel):
        return {
            way: with_gradients(convolve, x, kernel, *way)
            for way in [(1, "SAME"), (2, "SAME"), (1, "SYMMETRIC"), (2, "SYMMETRIC")]
        }

    with jax.enable_x64(True):
        arguments = draw(2, height, width, channels), draw(side, side, channels, 3, seed=2)
        ours, theirs = (
            jax.jit(functools.partial(all_ways, convolve))(*arguments)
            for convolve in (conv, reference)
        )
        for way in ours:
            for actual, expected in zip(ours[way], theirs[way], strict=True):
                assert actual.dtype == jnp.float64
                np.testing.assert_allclose(
                    actual, expected, rtol=1e-10, atol=1e-10, err_msg=str(way)
                )


@pytest.mark.parametrize("shared_kernel", [False, True])
def test_lanes_agree_with_one_by_one_and_make_no_grouped_convolution(shared_kernel):
    x = draw(2, 2, 6, 5, MANY).astype(np.float32)
    kernel = draw(2, 3, 3, MANY, 4, seed=1).astype(np.float32)

    def one(x, kernel):
        return with_gradients(conv, x, kernel, 2, "SAME")

    kernel = kernel[0] if shared_kernel else kernel
    together = jax.jit(jax.vmap(one, in_axes=(0, None if shared_kernel else 0)))
    one_by_one = jax.jit(
        lambda x, kernel: lax.map(
            lambda lane: one(x[lane], kernel if shared_kernel else kernel[lane]), jnp.arange(2)
        )
    )
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
