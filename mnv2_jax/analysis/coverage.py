"""Values and pairs of runs that a claim needs and the results lack; known before training.

`frame` is a table of runs, as `tables.read_results` returns it. All functions raise ValueError if a
claim names a column that it lacks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnv2_jax.analysis import stats, tables
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.schema import PHASE, PRETRAINING
from mnv2_jax.values import text


def absent(claim: Claim, frame: pd.DataFrame) -> list[str]:
    """Return the values of a claim that no run has, such as `projection relu6`.

    Values that some runs have, but none within the claim's `where`, are named with it:
    `transfer.norm inference where transfer.phase finetuning`.
    """
    chosen = claim.runs(frame)
    runs, where = chosen.frame, list(chosen.where.items())
    # Named where leaving pretraining out is why no run has the values.
    no_pretraining = f"{PHASE} is not {PRETRAINING}" if len(runs) < len(frame) else ""
    sides = [
        [(chosen.column(field), value) for field, value in values.items()]
        for values in claim.compared()
    ]
    single = [[pair] for pair in where] + [pairs for pairs in sides if len(pairs) == 1]
    missing = [_named(pairs) for pairs in single if not _any_run(frame, pairs)]
    if missing:
        return list(dict.fromkeys(missing))
    if not _any_run(runs, where):
        return [_named(where, no_pretraining)]
    # A value that is missing by itself is not named again in combinations.
    lacking: list[list[_Pair]] = []
    for pairs in sides:
        if not _any_run(runs, [*where, *pairs]) and not any(one[0] in pairs for one in lacking):
            lacking.append(pairs)
    also = no_pretraining if any(_any_run(frame, [*where, *pairs]) for pairs in lacking) else ""
    return [_named(pairs, *([_named(where)] if where else []), also) for pairs in lacking]


@dataclass(frozen=True)
class Unpaired:
    """Runs of two values that a claim compares, no two of which are a pair.

    Attributes:
      values: such as `projection linear and relu6 where expansion 6`.
      fields: columns in which the two most similar runs differ, though a pair must agree in them.
    """

    values: str
    fields: tuple[str, ...]

    def __str__(self) -> str:
        *others, last = self.fields
        listed = f"{', '.join(others)} and {last}" if others else last
        return f"runs with {self.values} differ in {listed} too"


def unpaired(claim: Claim, frame: pd.DataFrame) -> list[Unpaired]:
    """Return the compared values whose runs are not pairs.

    Raises:
      ValueError: also if two runs cannot be told apart.
    """
    runs = claim.runs(frame)
    result: dict[Unpaired, None] = {}
    for contrast in claim.contrasts():
        pairs = runs.pairs(contrast)
        if len(pairs) and not pairs["recorded"].any():
            one = runs.contrast(contrast)
            values = f"{one.axis} {text(one.better)} and {text(one.worse)}"
            restricted = f" where {_named(list(one.where.items()))}" if one.where else ""
            fields = stats.differing(runs.frame, one)
            result[Unpaired(values + restricted, tuple(fields))] = None
    return list(result)


def ruined(claim: Claim, frame: pd.DataFrame) -> tuple[int, int]:
    """Return the number of ruined runs, and of all runs, that a claim compares."""
    runs = compared(claim, frame)
    return tables.count_ruined(runs), len(runs)


def compared(claim: Claim, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that a claim compares."""
    runs = claim.runs(frame)
    values: dict[str, list[stats.Scalar]] = {}
    for fields in (runs.where, *claim.compared()):
        for field, value in fields.items():
            values.setdefault(runs.column(field), []).append(value)
    chosen = runs.frame
    for column, some in values.items():
        chosen = chosen[chosen[column].isin(some)]
    return chosen


def of_whole_seeds(claim: Claim, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of seeds that have all runs of a claim.

    Where seeds stop by themselves, other claims may have added seeds to some runs of this one. The
    mean over these runs alone would be that of another comparison.
    """
    counts = compared(claim, frame).groupby("seed").size()
    return frame[frame["seed"].isin(counts.index[counts == counts.max()])]


def counted(claim: Claim, frame: pd.DataFrame, row: Mapping[str, Any]) -> pd.DataFrame:
    """Return the runs that a claim was decided by, given its row."""
    return of_whole_seeds(claim, frame) if row.get("anytime") else frame


_Pair = tuple[str, stats.Scalar]  # A column and a value of it.


def _any_run(frame: pd.DataFrame, pairs: Sequence[_Pair]) -> bool:
    """Return whether a run has all of these values."""
    has = np.ones(len(frame), bool)
    for column, value in pairs:
        has &= (frame[column] == value).to_numpy(bool)
    return bool(has.any())


def _named(pairs: Sequence[_Pair], *conditions: str) -> str:
    words = " and ".join(f"{column} {text(value)}" for column, value in pairs)
    where = " and ".join(filter(None, conditions))
    return f"{words} where {where}" if where else words
