"""Evaluators: functions that measure finished runs. A new one is a function and its line here.

An evaluator is a function of a `mnv2_jax.ablation.subject.Subject`: networks that share a program,
and a split. A user's own is given as `FILE.py:FUNCTION`.
"""

import dataclasses

from mnv2_jax import user_code
from mnv2_jax.ablation.bottlenecks import bottlenecks
from mnv2_jax.ablation.precision import precision
from mnv2_jax.ablation.subject import Evaluator, Measures, Subject


def metrics(subject: Subject) -> Measures:
    """Compute the metrics as training does."""
    return subject.measure()


def bfloat16(subject: Subject) -> Measures:
    """Compute the metrics in bfloat16, whatever the precision of training was."""
    program = subject.program
    recipe = dataclasses.replace(program.recipe, compute_dtype="bfloat16")
    return subject.measure(dataclasses.replace(program, recipe=recipe))


EVALUATORS: dict[str, Evaluator] = {
    "metrics": metrics,
    "bfloat16": bfloat16,
    "bottlenecks": bottlenecks,
    "precision": precision,
}
"""The evaluators by name."""

SPLITS = {"bottlenecks": "validation"}
"""The splits that evaluators measure unless told otherwise; test images for all others."""


LOOK_INSIDE = ("bottlenecks", "precision")
"""The evaluators that look at layers of blocks, which then are not computed in pieces."""


def find(name: str) -> Evaluator:
    """Return an evaluator, by its name in `EVALUATORS` or as `FILE.py:FUNCTION`.

    Raises:
      ValueError: there is none; one line that begins with `evaluator`.
    """
    kind = "a function of a mnv2_jax.ablation.subject.Subject"
    return user_code.find("evaluator", name, EVALUATORS, _is_function, kind, "FUNCTION")


def _is_function(found: object) -> bool:
    return callable(found) and not isinstance(found, type)
