"""Initial values of a module's variables, drawn on the host."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal
from jax.interpreters import partial_eval


class Initialiser:
    """Draws what a function of a seed gives, such as the variables of a Flax module.

    Flax initialises a network by running it. Here the run is traced and cut out, what does not
    depend on the seed is evaluated once, and what is left, one draw per kernel, runs step by step
    on the host: compiling it for every shape would take longer than an epoch of training.

    Attributes:
      shapes: the tree that is drawn, of `jax.ShapeDtypeStruct`.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        """Trace `function`, which takes a uint32 seed and gives a tree of arrays."""
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
        """Draw the tree of one seed, as host arrays."""
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
    """Return the results of one operation of a traced program, by variable."""
    arguments = [_value(variable, values) for variable in equation.invars]
    if equation.primitive.name == "pure_callback":
        # Evaluated as it stands, each would be compiled first.
        results: Sequence[Any] = equation.params["callback"](*arguments)
    else:
        results = equation.primitive.bind(*arguments, **equation.params)
    if not equation.primitive.multiple_results:
        results = [results]
    return dict(zip(equation.outvars, results, strict=True))
