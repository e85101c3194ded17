"""Measures networks as training does."""

from mnv2_jax.ablation.evaluators.base import Measures, Subject


def metrics(subject: Subject) -> Measures:
    """Measure the metrics."""
    return subject.measure()
