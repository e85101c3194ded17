"""The layers of blocks and networks: convolutions, batch normalisation, classifier.

Layers map `[batch, height, width, channels]` to the same order. Parameters are float32; a layer
computes in the type of its input, BatchNorm's moments in float32. Gradients are custom where XLA's
own would pass over memory more often. As in `mnv2_jax.nn.depthwise`, arithmetic runs with the
channel outermost and the batch innermost.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from mnv2_jax import arch
from mnv2_jax.nn import depthwise, initializers, reductions
from mnv2_jax.nn.convolution import conv
from mnv2_jax.nn.pointwise import pointwise

Array = jax.Array


def activate(name: str, x: Array) -> Array:
    """Apply the nonlinearity `name`, one of `mnv2_jax.arch.ACTIVATIONS`."""
    return _ACTIVATIONS[name](x)


def clip(x: Array, low: ArrayLike, high: ArrayLike) -> Array:
    """Clip `x` to bounds, which may be infinite; beyond them the gradient is 0.

    `jnp.clip` and `flax.linen.relu6` split the gradient where `x` equals a bound, which costs a
    division per element.
    """
    return lax.clamp(jnp.asarray(low, x.dtype), x, jnp.asarray(high, x.dtype))


def leaky_clip(x: Array, low: ArrayLike, high: ArrayLike, slope: ArrayLike) -> Array:
    """Clip `x` to scalar bounds and add `slope` times the excess; see `arch.Clip`.

    At and beyond a bound the gradient is `slope`. With slope 0 values and gradients equal those of
    `clip` bit for bit; infinite values stay, where the formula gives NaN. No gradient flows to the
    scalars.
    """
    return _leaky_clip(x, *(jnp.asarray(scalar, x.dtype) for scalar in (low, high, slope)))


@jax.custom_vjp
def _leaky_clip(x: Array, low: Array, high: Array, slope: Array) -> Array:
    clipped = lax.clamp(low, x, high)
    leaks = (slope != 0) & (x != clipped)
    return jnp.where(leaks, clipped + slope * (x - clipped), clipped)


def _leaky_clip_forward(
    x: Array, low: Array, high: Array, slope: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _leaky_clip(x, low, high, slope), ((x > low) & (x < high), slope)


def _leaky_clip_backward(
    residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, None, None, None]:
    inside, slope = residuals
    beyond = jnp.where(slope == 0, 0, slope * gradient)  # 0 * inf would be NaN.
    return jnp.where(inside, gradient, beyond), None, None, None


_leaky_clip.defvjp(_leaky_clip_forward, _leaky_clip_backward)


def hard_swish(x: Array) -> Array:
    """Return `x * relu6(x + 3) / 6` (Howard et al. 2019, arXiv 1905.02244, section 5.2)."""
    return x * (clip(x + 3, 0.0, 6.0) / 6)


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu6": functools.partial(clip, low=0.0, high=6.0),
    "relu": functools.partial(clip, low=0.0, high=math.inf),
    "silu": jax.nn.silu,
    "hard_swish": hard_swish,
}


class Pointwise(nn.Module):
    """1x1 convolution without bias: a matrix product over channels."""

    channels: int
    initializer: str = "he_normal"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Multiply `[batch, height, width, in]` with the kernel `[in, channels]`."""
        init = initializers.KERNELS[self.initializer]
        kernel = self.param("kernel", init, (x.shape[-1], self.channels))
        return pointwise(x, kernel.astype(x.dtype))


class Depthwise(nn.Module):
    """Depthwise convolution without bias; see `mnv2_jax.nn.depthwise.depthwise_conv`."""

    kernel_size: int = 3
    stride: int = 1
    padding: str = "SAME"
    initializer: str = "he_normal"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Filter every channel with its slice of the kernel `[k, k, channels]`."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1])
        kernel = self.param("kernel", initializers.KERNELS[self.initializer], shape)
        return depthwise.depthwise_conv(x, kernel.astype(x.dtype), self.stride, self.padding)


class Conv(nn.Module):
    """Full convolution without bias; see `mnv2_jax.nn.convolution.conv`."""

    channels: int
    kernel_size: int = 3
    stride: int = 1
    padding: str = "SAME"
    initializer: str = "he_normal"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve with the kernel `[k, k, in, channels]`."""
        side = self.kernel_size
        init = initializers.KERNELS[self.initializer]
        kernel = self.param("kernel", init, (side, side, x.shape[-1], self.channels))
        return conv(x, kernel.astype(x.dtype), self.stride, self.padding)


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) over batch, height and width.

    Training normalises with the batch's moments and moves the running ones towards them; inference
    normalises with the running ones. The running variance is unbiased, as in PyTorch and in
    TensorFlow's fused kernels, which slim uses; in Keras 3 it is biased.

    Attributes:
      momentum: the share of the running moments that a step keeps.
      epsilon: added to the variance.
      axis_name: the mapped axis, such as that of `jax.pmap`, along which devices hold parts of one
        batch; moments are then of the whole batch. None if a device holds the whole batch.
      initial_bias: the bias before training.
    """

    momentum: float = 0.9
    epsilon: float = 1e-3
    axis_name: str | None = None
    initial_bias: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Normalise `x`, `[batch, height, width, channels]`, per channel."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", nn.initializers.constant(self.initial_bias), (channels,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        variance = self.variable("batch_stats", "var", jnp.ones, (channels,))
        if not train:
            factor, offset = factor_and_offset(
                scale, bias, mean.value, variance.value, self.epsilon
            )
            return (x * factor + offset).astype(x.dtype)
        # Initialisation is not mapped over the axis, and only the shapes matter.
        axis_name = None if self.is_initializing() else self.axis_name
        y, batch_mean, batch_variance = normalise(x, scale, bias, self.epsilon, axis_name)
        if not self.is_initializing():
            count = x.size // channels * _axis_size(axis_name)
            unbiased = batch_variance * (count / max(count - 1, 1))
            mean.value += (1 - self.momentum) * (batch_mean - mean.value)
            variance.value += (1 - self.momentum) * (unbiased - variance.value)
        return y


def factor_and_offset(
    scale: Array, bias: Array, mean: Array, variance: Array, epsilon: float
) -> Array:
    """Return BatchNorm in inference mode as a factor and an offset of each channel, `[2, c]`."""
    inverse = 1 / jnp.sqrt(variance + epsilon)
    factor = scale * inverse
    # Without the barrier XLA would recompute these for every pixel.
    return lax.optimization_barrier(jnp.stack([factor, bias - mean * factor]))


def conv_norm_act(
    layer: nn.Module,
    x: Array,
    conventions: arch.Conventions,
    axis_name: str | None,
    train: bool,
    activation: str | None,
    bias: float = 0.0,
) -> Array:
    """Apply a convolution, BatchNorm and, unless None, an activation, in a compact method.

    `bias` is that of BatchNorm before training.
    """
    norm = BatchNorm(
        momentum=conventions.norm_momentum,
        epsilon=conventions.norm_epsilon,
        axis_name=axis_name,
        initial_bias=bias,
        name=f"{layer.name}_norm",
    )
    y = norm(layer(x), train=train)
    return y if activation is None else activate(activation, y)


class Dense(nn.Module):
    """Fully connected layer with bias: `[batch, features]` to `[batch, channels]`."""

    channels: int
    initializer: initializers.Initializer = initializers.he_normal

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Multiply with the kernel `[features, channels]` and add the bias."""
        kernel = self.param("kernel", self.initializer, (x.shape[-1], self.channels))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,))
        return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: a gate per channel from all means (Hu et al. 2018, arXiv 1709.01507).

    As in MobileNetV3 (Howard et al. 2019, arXiv 1905.02244, section 5.3): a quarter of the channels
    in between, ReLU after the first layer, a hard sigmoid after the second.
    """

    divisor: int = 8
    initializer: str = "he_normal"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Scale the channels of `[batch, height, width, channels]`."""
        channels = x.shape[-1]
        init = initializers.KERNELS[self.initializer]
        reduced = arch.round_channels(channels / 4, self.divisor)
        y = clip(Dense(reduced, init, name="reduce")(x.mean((1, 2))), 0.0, math.inf)
        gate = clip(Dense(channels, init, name="gate")(y) + 3, 0.0, 6.0) / 6
        return x * gate[:, None, None, :]


def _channels_first(x: Array) -> Array:
    return x.transpose(3, 1, 2, 0)


_channels_last = _channels_first  # The permutation (3, 1, 2, 0) is its own inverse.


def normalise(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None = None
) -> tuple[Array, Array, Array]:
    """Normalise `x` `[n, h, w, c]` per channel with its moments, then scale and shift it.

    With `axis_name`, `x` is one of the equal parts of a batch along that mapped axis, and moments
    are of the whole batch. Gradients are then of the sum of all parts' losses: complete for `x`,
    this part's share for `scale` and `bias`, to be reduced over the axis like those of other
    parameters.

    Returns:
      The result, the mean `[c]` and the biased variance `[c]`. Gradients flow through the result
      only: the moments are for the running statistics.
    """
    y, mean, variance = _normalise(_channels_first(x), scale, bias, epsilon, axis_name)
    return _channels_last(y), mean, variance


def _axis_size(axis_name: str | None) -> int:
    return 1 if axis_name is None else lax.axis_size(axis_name)


def _psum(values: list[Array], axis_name: str | None) -> list[Array]:
    """Sum arrays `[c]` over the axis, in one exchange between devices."""
    return values if axis_name is None else list(lax.psum(jnp.stack(values), axis_name))


def _at_least_float32(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _per_channel(value: Array) -> Array:
    return value[:, None, None, None]


def _normalise_impl(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    # The barriers keep XLA from recomputing what is read twice: the input, for the sums and then
    # for the result; and the few numbers per channel, which one small loop computes.
    x = lax.optimization_barrier(x)
    count = x[0].size * _axis_size(axis_name)
    wide = _at_least_float32(x)
    total, total_of_squares = _psum(
        [reductions.channel_sum(wide), reductions.channel_sum(wide * wide)], axis_name
    )
    mean = total / count
    variance = jnp.maximum(total_of_squares / count - mean * mean, 0.0)
    # Not rsqrt, which XLA expands to a polynomial: more code per layer than all the rest.
    inverse = 1 / jnp.sqrt(variance + epsilon)
    factor = scale * inverse
    mean, variance, inverse, factor, offset = lax.optimization_barrier(
        jnp.stack([mean, variance, inverse, factor, bias - mean * factor])
    )
    y = wide * _per_channel(factor) + _per_channel(offset)
    return (y.astype(x.dtype), mean, variance), (x, mean, inverse, factor)


def _normalise_backward(
    epsilon: float,
    axis_name: str | None,
    residuals: tuple[Array, ...],
    gradients: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array]:
    x, mean, inverse, factor = residuals
    dtype = x.dtype
    x, gradient = map(_at_least_float32, (x, lax.optimization_barrier(gradients[0])))
    count = x[0].size * _axis_size(axis_name)
    own_sums = [reductions.channel_sum(gradient), reductions.channel_sum_of_products(gradient, x)]

    def parameter_gradients(d_bias: Array, gradient_times_x: Array) -> tuple[Array, Array]:
        return inverse * (gradient_times_x - mean * d_bias), d_bias

    d_scale, d_bias = parameter_gradients(*_psum(own_sums, axis_name))
    slope = d_scale * inverse / count
    dx = (
        gradient * _per_channel(factor)
        - x * _per_channel(factor * slope)
        + _per_channel(factor * (mean * slope - d_bias / count))
    )
    return dx.astype(dtype), *parameter_gradients(*own_sums)


def _normalise_primal(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None
) -> tuple[Array, Array, Array]:
    return _normalise_impl(x, scale, bias, epsilon, axis_name)[0]


_normalise = jax.custom_vjp(_normalise_primal, nondiff_argnums=(3, 4))
_normalise.defvjp(_normalise_impl, _normalise_backward)
