"""Values and pairs that a claim needs and the runs lack.

Both are known before anything trains.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnv2_jax.analysis import stats, tables
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.schema import PHASE, PRETRAINING
from mnv2_jax.values import text


def absent(claim: Claim, frame: pd.DataFrame) -> list[str]:
    """Return the values of a claim that no run has, such as `projection relu6`.

    Values that some runs have, but none of those that the claim's `where` leaves, are given with
    it: `transfer.norm inference where transfer.phase finetuning`.

    Args:
      claim: of any kind.
      frame: one row per run; only columns that the claim names, and the phase, are read.

    Raises:
      ValueError: the claim names a column that the results lack.
    """
    found = claim.runs(frame)
    runs = found.frame
    # Named where it is what takes the values away.
    aside = f"{PHASE} is not {PRETRAINING}" if len(runs) < len(frame) else ""
    where = list(found.where.items())
    sides = [
        [(found.column(field), value) for field, value in values.items()]
        for values in claim.compared()
    ]
    anywhere = [[pair] for pair in where] + [pairs for pairs in sides if len(pairs) == 1]
    missing = [_named(pairs) for pairs in anywhere if not _any_run(frame, pairs)]
    if missing:
        return list(dict.fromkeys(missing))
    if not _any_run(runs, where):
        return [_named(where, aside)]
    # What is missing by itself is not said again of the pairs that it is in.
    gone: list[list[_Pair]] = []
    for pairs in sides:
        if not _any_run(runs, [*where, *pairs]) and not any(one[0] in pairs for one in gone):
            gone.append(pairs)
    also = aside if any(_any_run(frame, [*where, *pairs]) for pairs in gone) else ""
    return [_named(pairs, *([_named(where)] if where else []), also) for pairs in gone]


@dataclass(frozen=True)
class Unpaired:
    """Runs of two values that a claim compares, no two of which are a pair.

    Attributes:
      values: such as `projection linear and relu6 where expansion 6`.
      fields: columns in which a pair agrees and those two runs differ that differ in the fewest.
    """

    values: str
    fields: tuple[str, ...]

    def __str__(self) -> str:
        *others, last = self.fields
        listed = f"{', '.join(others)} and {last}" if others else last
        return f"runs with {self.values} differ in {listed} too"


def unpaired(claim: Claim, frame: pd.DataFrame) -> list[Unpaired]:
    """Return the compared values whose runs are not pairs.

    Args:
      claim: of any kind.
      frame: one row per run, as `records.read_results` returns it.

    Raises:
      ValueError: the claim names a column that the results lack, or two runs cannot be told apart.
    """
    runs = claim.runs(frame)
    said: dict[Unpaired, None] = {}
    for contrast in claim.contrasts():
        pairs = runs.pairs(contrast)
        if len(pairs) and not pairs["there"].any():
            one = runs.contrast(contrast)
            values = f"{one.axis} {text(one.better)} and {text(one.worse)}"
            restricted = f" where {_named(list(one.where.items()))}" if one.where else ""
            fields = stats.differing(
                runs.frame, one.axis, one.better, one.worse, one.where, one.covarying
            )
            said[Unpaired(values + restricted, tuple(fields))] = None
    return list(said)


def ruined(claim: Claim, frame: pd.DataFrame) -> tuple[int, int]:
    """Return the numbers of ruined runs and of all runs that a claim compares.

    Raises:
      ValueError: the claim names a column that the results lack.
    """
    runs = claim.runs(frame)
    values: dict[str, list[stats.Scalar]] = {}
    for fields in (runs.where, *claim.compared()):
        for field, value in fields.items():
            values.setdefault(runs.column(field), []).append(value)
    chosen = np.ones(len(runs.frame), bool)
    for column, some in values.items():
        chosen &= runs.frame[column].isin(some).to_numpy(bool)
    return tables.count_ruined(runs.frame[chosen]), int(chosen.sum())


_Pair = tuple[str, stats.Scalar]
"""A column and a value of it."""


def _any_run(frame: pd.DataFrame, pairs: Sequence[_Pair]) -> bool:
    """Return whether a run has all of these values."""
    has = np.ones(len(frame), bool)
    for column, value in pairs:
        has &= (frame[column] == value).to_numpy(bool)
    return bool(has.any())


def _named(pairs: Sequence[_Pair], *conditions: str) -> str:
    words = " and ".join(f"{column} {text(value)}" for column, value in pairs)
    held = " and ".join(filter(None, conditions))
    return f"{words} where {held}" if held else words
