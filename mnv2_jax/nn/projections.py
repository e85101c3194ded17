"""Projections: the activation that follows a block's normalised projecting convolution.

Those of `mnv2_jax.arch.CLIPS` are numbers that a program takes as arguments, so that lanes may
differ in them. All others are functions, part of the program: a new one is a line in `FUNCTIONS`.
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
"""Elementwise functions of an array, in the type that it has."""


@functools.cache
def check_name(name: str) -> None:
    """Check that there is a projection of this name, and that it keeps shape and type.

    Raises:
      ValueError: one line that names it and what would be right.
    """
    if name in arch.CLIPS:
        return
    function = _function(name)
    for dtype in (jnp.float32, jnp.bfloat16):
        given = jax.ShapeDtypeStruct((2, 3, 3, 4), dtype)
        try:
            found: Any = jax.eval_shape(function, given)
        except Exception as error:  # A function of the user's own raises anything.
            raise ValueError(
                f"projection={name!r}: {user_code.fault(error, inspect.unwrap(function))}"
            ) from error
        if not (isinstance(found, jax.ShapeDtypeStruct) and found == given):
            raise ValueError(
                f"projection={name!r}: it gives {_told(found)} for {_told(given)}; expected an "
                f"array of the same shape and type"
            )


def apply(name: str, x: Array) -> Array:
    """Apply the projection of this name to `x`, of any shape.

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
        is_one=lambda found: callable(found) and not isinstance(found, type),
        expected="a function of an array",
        example="FUNCTION",
    )


def _told(found: Any) -> str:
    if not isinstance(found, jax.ShapeDtypeStruct):
        return type(found).__name__
    return f"{found.dtype}{list(found.shape)}"
