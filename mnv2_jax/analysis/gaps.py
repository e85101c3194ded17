"""What a claim speaks of and the runs lack: values, or pairs.

Both are known before anything trains.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnv2_jax.analysis import compared, records, stats
from mnv2_jax.analysis.claims import Claim, Equivalent, Interaction, Monotone
from mnv2_jax.schema import PHASE, PRETRAINING


def absent(claim: Claim, frame: pd.DataFrame) -> list[str]:
    """What a claim speaks of and no run has, such as `projection relu6`.

    Values that some runs have, but none of those that the claim's `where` leaves, are given with
    it: `transfer.norm inference where transfer.phase finetuning`.

    Args:
      claim: made by the functions of `mnv2_jax.analysis.claims`.
      frame: one row per run; only columns that the claim names, and the phase, are read.

    Raises:
      ValueError: the claim names a column that the results lack.
    """
    found, runs = compared.held_against(claim, frame)
    # Named where it is what takes the values away.
    aside = f"{PHASE} is not {PRETRAINING}" if len(runs) < len(frame) else ""
    where = list(found.where.items())
    sides: list[list[_Pair]] = [[pair] for pair in _compared(found)]
    anywhere = [[pair] for pair in where] + sides
    missing = [_named(pairs) for pairs in anywhere if not _any_run(frame, pairs)]
    if missing:
        return list(dict.fromkeys(missing))
    if isinstance(found, Interaction):
        cells = itertools.product((found.better, found.worse), (found.more, found.less))
        sides += [[(found.axis, one), (found.by, other)] for one, other in cells]
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
    """What a claim compares, and the runs have, without that any two of them are a pair.

    Args:
      claim: made by the functions of `mnv2_jax.analysis.claims`.
      frame: one row per run, as `records.read_results` returns it.

    Raises:
      ValueError: the claim names a column that the results lack, or two runs cannot be told apart.
    """
    found, runs = compared.held_against(claim, frame)
    along = getattr(found, "along", ())
    said: dict[Unpaired, None] = {}
    for axis, better, worse, where in _contrasts(found):
        pairs = stats.paired_differences(runs, axis, better, worse, where, found.metric, along)
        if len(pairs) and not pairs["there"].any():
            values = f"{axis} {compared.text(better)} and {compared.text(worse)}"
            restricted = f" where {_named(list(where.items()))}" if where else ""
            fields = stats.differing(runs, axis, better, worse, where, along)
            said[Unpaired(values + restricted, tuple(fields))] = None
    return list(said)


def ruined(claim: Claim, frame: pd.DataFrame) -> tuple[int, int]:
    """The number of runs that a claim compares and training ruined, and of all that it compares.

    Raises:
      ValueError: the claim names a column that the results lack.
    """
    found, runs = compared.held_against(claim, frame)
    values: dict[str, list[stats.Scalar]] = {}
    for column, value in [*found.where.items(), *_compared(found)]:
        values.setdefault(column, []).append(value)
    chosen = np.ones(len(runs), bool)
    for column, some in values.items():
        chosen &= runs[column].isin(some).to_numpy(bool)
    return records.count_ruined(runs[chosen]), int(chosen.sum())


_Contrast = tuple[str, stats.Scalar, stats.Scalar, Mapping[str, stats.Scalar]]
"""A column, two values of it that have to have pairs, and where."""


def _contrasts(claim: Claim) -> Iterator[_Contrast]:
    """What has to have pairs for a claim to be decided."""
    if isinstance(claim, Equivalent | Monotone):
        for earlier, later in compared.two_by_two(claim):
            yield claim.axis, later, earlier, claim.where
    elif isinstance(claim, Interaction):
        for value in (claim.more, claim.less):
            yield claim.axis, claim.better, claim.worse, {**claim.where, claim.by: value}
        yield claim.by, claim.more, claim.less, claim.where
    else:
        yield claim.axis, claim.better, claim.worse, claim.where


_Pair = tuple[str, stats.Scalar]
"""A column and a value of it."""


def _compared(claim: Claim) -> list[_Pair]:
    """The values that a claim compares."""
    if isinstance(claim, Equivalent | Monotone):
        return [(claim.axis, value) for value in claim.values]
    sides = [(claim.axis, claim.better), (claim.axis, claim.worse)]
    if isinstance(claim, Interaction):
        sides += [(claim.by, claim.more), (claim.by, claim.less)]
    return sides


def _any_run(frame: pd.DataFrame, pairs: Sequence[_Pair]) -> bool:
    """Whether a run has all of these values."""
    has = np.ones(len(frame), bool)
    for column, value in pairs:
        has &= (frame[column] == value).to_numpy(bool)
    return bool(has.any())


def _named(pairs: Sequence[_Pair], *conditions: str) -> str:
    words = " and ".join(f"{column} {compared.text(value)}" for column, value in pairs)
    held = " and ".join(filter(None, conditions))
    return f"{words} where {held}" if held else words
