"""Initial weights, drawn on the host.

A network has dozens of kernels of different shapes, and XLA would compile a random generator for
each: longer than training for an epoch. NumPy draws them at once, and the same on every device.
The keys are Flax's, derived from the seed and the parameter's path.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def he_normal(key: Array, shape: tuple[int, ...]) -> Array:
    """Normal with variance 2 / fan-out, for kernels `[..., in, out]` (He et al. 2015).

    As torchvision initialises MobileNetV2. A depthwise kernel `[k, k, channels]` has one output
    per channel; its fan-out is k * k.
    """
    fan_out = math.prod(shape[:-2]) * shape[-1] if len(shape) != 3 else shape[0] * shape[1]
    return normal(math.sqrt(2 / fan_out), key, shape)


def normal(deviation: float, key: Array, shape: tuple[int, ...]) -> Array:
    """Normal with mean 0 and the standard deviation given, float32."""

    def draw(key_data: Array) -> np.ndarray:
        keys = np.asarray(key_data).astype("<u4")
        weights = np.empty((*keys.shape[:-1], *shape), np.float32)
        for index in np.ndindex(*keys.shape[:-1]):
            philox = np.random.Philox(key=int.from_bytes(keys[index].tobytes(), "little"))
            weights[index] = np.random.Generator(philox).standard_normal(shape, np.float32)
        return weights * np.float32(deviation)

    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.pure_callback(draw, result, jax.random.key_data(key), vmap_method="expand_dims")
