"""Measures of a subject, checked: the evaluator that makes them may be a user's own."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mnv2_jax import schema, side_tables, user_code
from mnv2_jax.ablation import evaluators
from mnv2_jax.ablation.subject import Subject
from mnv2_jax.predictions import LEFT_OUT, Predictions
from mnv2_jax.schema import Column
from mnv2_jax.side_tables import BlockRow


class Measured(NamedTuple):
    """The measures of a subject's networks.

    Attributes:
      measures: of each network.
      blocks: the measures of each network's blocks; empty if blocks were not measured.
      block_columns: descriptions of these, by name.
      predictions: by run, of those runs whose measures they are the terms of.
    """

    measures: Sequence[Mapping[str, float]]
    blocks: Sequence[Sequence[BlockRow]] = ()
    block_columns: Mapping[str, Column] = MappingProxyType({})
    predictions: Mapping[str, Predictions] = MappingProxyType({})


def measure(name: str, subject: Subject) -> Measured:
    """Call an evaluator, which may be a user's own, and check what it returns.

    Args:
      name: of the evaluator; see `mnv2_jax.ablation.evaluators.find`.
      subject: to be measured.

    Raises:
      ValueError: the evaluator fails, or its measures are no numbers; one line.
      OSError: a file cannot be read.
    """
    evaluator, what = evaluators.find(name), f"evaluator={name!r}"
    try:
        found = list(evaluator(subject))
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"{what}: {user_code.fault(error, evaluator)}") from error
    if len(found) != len(subject.runs):
        raise ValueError(
            f"{what}: it gives measures of {len(found)} networks; expected {len(subject.runs)}"
        )
    for measures in found:
        if not (isinstance(measures, Mapping) and measures):
            raise ValueError(f"{what}: it gives {measures!r:.60} of a network; expected measures")
        for key, value in measures.items():
            _check(what, key, value)
    numbers = [{key: float(value) for key, value in measures.items()} for measures in found]
    blocks = _blocks(what, subject)
    names = {key for rows in blocks for row in rows for key in row.values}
    for key in sorted(names - subject.block_columns.keys()):
        subject.describe(key, of_blocks=True)
    columns = {key: one for key, one in subject.block_columns.items() if key in names}
    return Measured(numbers, blocks, columns)


def _check(what: str, name: object, value: object) -> None:
    """Raise ValueError unless a measure has a name and a number."""
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not (re.fullmatch(r"\w+", str(name)) and is_number and math.isfinite(value)):  # type: ignore[arg-type]
        raise ValueError(
            f"{what}: measure {name!r} is {value!r:.60}; expected a name of letters, digits and _, "
            f"and a finite number"
        )


def _blocks(what: str, subject: Subject) -> list[list[BlockRow]]:
    """Return the checked measures of blocks; none if the evaluator set none."""
    what = f"{what}: per_block"
    per_block: Any = subject.per_block
    if not isinstance(per_block, Sequence):
        raise ValueError(f"{what} is {per_block!r:.60}; expected a list with an entry per network")
    if not per_block:
        return []
    if len(per_block) != len(subject.runs):
        raise ValueError(f"{what} is of {len(per_block)} networks; expected {len(subject.runs)}")
    spec = subject.program.spec
    names = spec.parts[1 : len(spec.blocks) + 1]
    rows = []
    for blocks in per_block:
        if not isinstance(blocks, Sequence) or len(blocks) != len(names):
            raise ValueError(
                f"{what} gives {blocks!r:.60} of a network; expected {len(names)} mappings, one "
                f"for each of its blocks"
            )
        rows.append([_row(what, *named) for named in zip(names, blocks, strict=True)])
    return rows


def _row(what: str, name: str, measures: Any) -> BlockRow:
    if not isinstance(measures, Mapping):
        raise ValueError(f"{what} gives {measures!r:.60} of {name}; expected a mapping")
    there = {key: value for key, value in measures.items() if value is not None}
    for key, value in there.items():
        if key in schema.KNOWN or key in side_tables.BLOCK:
            raise ValueError(
                f"{what}: measure {key!r} of {name}: tables have such a column; expected another "
                f"name"
            )
        _check(what, key, value)
    return BlockRow(name, {key: float(value) for key, value in there.items()})


def predictions(subject: Subject, measured: Measured, drawn: str) -> dict[str, Predictions]:
    """Return predictions by run, of those runs whose measures they are the terms of.

    Args:
      subject: it has the predictions that were made last.
      measured: of the subject.
      drawn: how its images were drawn; see `mnv2_jax.predictions.Predictions`.
    """
    names = subject.dataset.class_names
    # An evaluator that measures nothing, or last measured something else, has others.
    return {
        run: dataclasses.replace(one, class_names=names, images=drawn)
        for run, one, measures in zip(
            subject.runs, subject.predictions, measured.measures, strict=False
        )
        if _are_terms(one, measures)
    }


def _are_terms(predictions: Predictions, measures: Mapping[str, float]) -> bool:
    """Return whether accuracy and loss, as far as they were measured, follow from predictions."""
    seen = predictions.predicted != LEFT_OUT
    means = {
        "accuracy": np.mean((predictions.predicted == predictions.labels)[seen]),
        "loss": np.mean(predictions.losses[seen]),
    }
    shared = means.keys() & measures.keys()
    return bool(shared) and all(
        math.isclose(means[name], measures[name], rel_tol=1e-4) for name in shared
    )
