"""Initial weights, drawn by NumPy on the host.

XLA would compile a random generator for each of a network's dozens of kernel shapes, which takes
longer than training for an epoch. NumPy compiles nothing and draws the same for every device. The
keys are Flax's, derived from the seed and the parameter's path.

Kernels are `[k, k, in, out]`, `[in, out]` or, depthwise, `[k, k, channels]`.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Initializer = Callable[[Array, tuple[int, ...]], Array]


def he_normal(key: Array, shape: tuple[int, ...]) -> Array:
    """Draw from a normal distribution of variance 2 / fan-out (He et al. 2015).

    A depthwise kernel has one output per channel, so its fan-out is k * k.
    """
    fan_out = math.prod(shape) / (shape[2] if len(shape) == 3 else shape[-2])
    return normal(math.sqrt(2 / fan_out), key, shape)


def kaiming_normal(key: Array, shape: tuple[int, ...]) -> Array:
    """Draw as torchvision draws convolutions: `he_normal` but for depthwise kernels.

    PyTorch counts their fan-out as k * k * channels, as if every input fed every output.
    """
    fan_out = math.prod(shape) / (1 if len(shape) == 3 else shape[-2])
    return normal(math.sqrt(2 / fan_out), key, shape)


def glorot_uniform(key: Array, shape: tuple[int, ...]) -> Array:
    """Draw uniformly with variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010), as Keras does.

    A depthwise kernel counts as one from all channels to one, `[k, k, channels, 1]`.
    """
    *window, fan_in, fan_out = (*shape, 1) if len(shape) == 3 else shape
    bound = math.sqrt(6 / (math.prod(window) * (fan_in + fan_out)))
    return _draw(lambda generator: generator.random(shape, np.float32) * 2 - 1, bound, key, shape)


def normal(deviation: float, key: Array, shape: tuple[int, ...]) -> Array:
    """Draw from a normal distribution of mean 0."""
    return _draw(
        lambda generator: generator.standard_normal(shape, np.float32), deviation, key, shape
    )


def truncated_normal(deviation: float, key: Array, shape: tuple[int, ...]) -> Array:
    """Draw normally, and again where a value is beyond two deviations, as TensorFlow does.

    The result's standard deviation is 0.88 times `deviation`.
    """

    def draw(generator: np.random.Generator) -> np.ndarray:
        values = generator.standard_normal(shape, np.float32)
        while (beyond := np.abs(values) > 2).any():
            values[beyond] = generator.standard_normal(beyond.sum(), np.float32)
        return values

    return _draw(draw, deviation, key, shape)


KERNELS: dict[str, Initializer] = {
    "he_normal": he_normal,
    "truncated_normal": functools.partial(truncated_normal, 0.09),
    "glorot_uniform": glorot_uniform,
    "kaiming_normal": kaiming_normal,
}
"""Initializers of convolutions, by name in `mnv2_jax.arch.INITIALIZERS`."""

CLASSIFIERS: dict[str, Initializer] = {
    "he_normal": functools.partial(normal, 0.01),
    "truncated_normal": functools.partial(truncated_normal, 0.09),
    "glorot_uniform": glorot_uniform,
    "kaiming_normal": functools.partial(normal, 0.01),
}
"""Initializers of the classifier, by the same names."""


def _draw(
    standard: Callable[[np.random.Generator], np.ndarray],
    factor: float,
    key: Array,
    shape: tuple[int, ...],
) -> Array:
    """Return `factor` times the values that `standard` draws with a generator seeded by `key`."""

    def draw(key_data: Array) -> np.ndarray:
        keys = np.asarray(key_data).astype("<u4")
        weights = np.empty((*keys.shape[:-1], *shape), np.float32)
        for index in np.ndindex(*keys.shape[:-1]):
            philox = np.random.Philox(key=int.from_bytes(keys[index].tobytes(), "little"))
            weights[index] = standard(np.random.Generator(philox))
        return weights * np.float32(factor)

    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.pure_callback(draw, result, jax.random.key_data(key), vmap_method="expand_dims")
