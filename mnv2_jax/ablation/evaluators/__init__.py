"""Evaluators: what is measured of finished runs. A new one is a module here and its line.

An evaluator is a function of a `base.Subject`: networks that share a program, and a split. One of a
user's own is `FILE.py:FUNCTION`.
"""

from mnv2_jax import user_code
from mnv2_jax.ablation.evaluators.base import Evaluator
from mnv2_jax.ablation.evaluators.bfloat16 import bfloat16
from mnv2_jax.ablation.evaluators.metrics import metrics

EVALUATORS: dict[str, Evaluator] = {
    "metrics": metrics,
    "bfloat16": bfloat16,
}
"""The evaluators by name."""


def find(name: str) -> Evaluator:
    """Return an evaluator by its name in `EVALUATORS`, or one of a file of the user's own.

    Raises:
      ValueError: there is none; one line that begins with `evaluator`.
    """
    kind = "a function of a mnv2_jax.ablation.evaluators.base.Subject"
    return user_code.find("evaluator", name, EVALUATORS, _is_function, kind, "FUNCTION")


def _is_function(found: object) -> bool:
    return callable(found) and not isinstance(found, type)
