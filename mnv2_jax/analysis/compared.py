"""What a claim compares, by the results' own columns."""

import dataclasses
import itertools
from typing import Any

import pandas as pd

from mnv2_jax import values
from mnv2_jax.analysis import records, stats
from mnv2_jax.analysis.claims import Equivalent, Greater, Monotone
from mnv2_jax.schema import PHASE, PRETRAINING


def held_against(claim: Any, frame: pd.DataFrame) -> tuple[Any, pd.DataFrame]:
    """The claim by the results' own columns, and the runs that it speaks of.

    Those of pretraining are tested on other classes: they are left out unless the claim names the
    phase.
    """
    axes = {
        name: records.column(frame, getattr(claim, name))
        for name in ("axis", "by")
        if hasattr(claim, name)
    }
    where = {records.column(frame, field): value for field, value in claim.where.items()}
    found = dataclasses.replace(claim, where=where, **axes)
    if isinstance(claim, Greater):
        along = (records.column(frame, field) for field in claim.along)
        # A field of the config that no runs differ in has no column.
        there = tuple(column for column in along if column in frame or "." not in column)
        found = dataclasses.replace(found, along=there)
    if PHASE in frame and PHASE not in (*where, *axes.values()):
        frame = frame[frame[PHASE] != PRETRAINING]
    return found, frame


def two_by_two(claim: Equivalent | Monotone) -> list[tuple[stats.Scalar, stats.Scalar]]:
    """The values that are compared, the earlier first; of a monotone claim the whole comes last."""
    if isinstance(claim, Equivalent):
        return list(itertools.combinations(claim.values, 2))
    return [*itertools.pairwise(claim.values), (claim.values[0], claim.values[-1])]


def text(value: stats.Scalar) -> str:
    """How messages write a value."""
    return values.text(value)
