"""Measures networks whose activations and products are computed in bfloat16."""

import dataclasses

from mnv2_jax.ablation.evaluators.base import Measures, Subject


def bfloat16(subject: Subject) -> Measures:
    """Measure the metrics, computing in bfloat16 whatever the networks were trained in."""
    program = subject.program
    recipe = dataclasses.replace(program.recipe, compute_dtype="bfloat16")
    return subject.measure(dataclasses.replace(program, recipe=recipe))
