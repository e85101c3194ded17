"""Projections: the activation that follows a block's normalised projecting convolution.

A program takes the numbers of `mnv2_jax.arch.CLIPS` as arguments, so that its lanes may differ in
them. All other projections are functions, part of the program. A new one is a line in `FUNCTIONS`.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mnv2_jax import arch, user_code
from mnv2_jax.nn import layers

Array = jax.Array
Projection = Callable[[Array], Array]

FUNCTIONS: dict[str, Projection] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),  # Hendrycks and Gimpel 2016
    "silu": jax.nn.silu,  # Elfwing et al. 2017
    "hard_swish": layers.hard_swish,  # Howard et al. 2019
}
"""Elementwise functions that keep the array's type."""


@functools.cache
def check_name(name: str) -> None:
    """Check that a projection exists and keeps shape and type.

    Raises:
      ValueError: it does not, or it fails; one line.
    """
    if name in arch.CLIPS:
        return
    function = _function(name)
    for dtype in (jnp.float32, jnp.bfloat16):
        x = jax.ShapeDtypeStruct((2, 3, 3, 4), dtype)
        try:
            y: Any = jax.eval_shape(function, x)
        except Exception as error:  # A user's function can raise anything.
            raise ValueError(
                f"projection={name!r}: {user_code.fault(error, inspect.unwrap(function))}"
            ) from error
        if not (isinstance(y, jax.ShapeDtypeStruct) and y == x):
            raise ValueError(
                f"projection={name!r}: returns {_type_text(y)} for {_type_text(x)}; expected an "
                f"array of the same shape and type"
            )


def apply(name: str, x: Array) -> Array:
    """Apply a projection, by name, to `x` of any shape.

    Raises:
      ValueError: see `check_name`.
    """
    if name not in arch.CLIPS:
        return _function(name)(x)
    low, high, slope = arch.CLIPS[name]
    return layers.leaky_clip(x, low, high, slope) if slope else layers.clip(x, low, high)


def _function(name: str) -> Projection:
    clips: dict[str, Projection] = {clip: functools.partial(apply, clip) for clip in arch.CLIPS}
    return user_code.find(
        field="projection",
        value=name,
        registry=clips | FUNCTIONS,
        is_one=lambda value: callable(value) and not isinstance(value, type),
        expected="a function of an array",
        example="FUNCTION",
    )


def _type_text(value: Any) -> str:
    if not isinstance(value, jax.ShapeDtypeStruct):
        return type(value).__name__
    return f"{value.dtype}{list(value.shape)}"
