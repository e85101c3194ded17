"""Initial values of a module's variables, drawn on the host."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal
from jax.interpreters import partial_eval


class Initialiser:
    """Evaluates a function of a seed on the host, such as one that initialises a Flax module.

    Flax initialises a network by running it. Here its jaxpr is reduced to the equations of the
    result, those independent of the seed are evaluated once, and the rest, one draw per kernel, is
    evaluated equation by equation: compiling them takes longer than an epoch of training.

    Attributes:
      shapes: the result's tree, of `jax.ShapeDtypeStruct`.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        """Trace `function`, which maps a uint32 seed to a tree of arrays."""
        traced, self.shapes = jax.make_jaxpr(function, return_shape=True)(np.uint32(0))
        draws, _ = partial_eval.dce_jaxpr(
            traced.jaxpr, [True] * len(traced.jaxpr.outvars), instantiate=True
        )
        self._seed = draws.invars[0]
        self._results = draws.outvars
        self._known = dict(zip(draws.constvars, traced.consts, strict=True))
        self._equations = []
        for equation in draws.eqns:
            if any(self._depends(variable) for variable in equation.invars):
                self._equations.append(equation)
            else:
                self._known |= _evaluate(equation, self._known)

    def __call__(self, seed: int) -> Any:
        """Return the tree of a seed, as host arrays."""
        values = {**self._known, self._seed: np.uint32(seed)}
        for equation in self._equations:
            values |= _evaluate(equation, values)
        leaves = [_value(variable, values) for variable in self._results]
        return jax.tree.unflatten(jax.tree.structure(self.shapes), jax.device_get(leaves))

    def _depends(self, variable: Any) -> bool:
        return not isinstance(variable, Literal) and variable not in self._known


def _value(variable: Any, values: dict[Any, Any]) -> Any:
    return variable.val if isinstance(variable, Literal) else values[variable]


def _evaluate(equation: Any, values: dict[Any, Any]) -> dict[Any, Any]:
    """Return the results of an equation, by variable."""
    arguments = [_value(variable, values) for variable in equation.invars]
    if equation.primitive.name == "pure_callback":
        # Bound like the others, each callback would be compiled first.
        results: Sequence[Any] = equation.params["callback"](*arguments)
    else:
        results = equation.primitive.bind(*arguments, **equation.params)
    if not equation.primitive.multiple_results:
        results = [results]
    return dict(zip(equation.outvars, results, strict=True))
