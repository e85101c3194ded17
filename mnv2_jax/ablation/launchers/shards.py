"""Cuts a grid into parts that processes train side by side."""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence

from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.ablation.launchers.local import Local


@dataclasses.dataclass(frozen=True)
class Shard(Local):
    """Trains one of the parts of a grid, as a job of an array does, in this process.

    Attributes:
      number: from 1.
      of: how many there are.
    """

    number: int
    of: int

    @property
    def part(self) -> str:
        """See `Launcher`: what shards of other numbers leave alone."""
        return f"shard-{self.number}-of-{self.of}"

    def select(self, cohorts: Sequence[Cohort]) -> list[Cohort]:
        """See `Launcher`, and `of_shard`."""
        return of_shard(cohorts, self)

    def __str__(self) -> str:
        return f"--shard={self.number}/{self.of}"


def parse(text: str) -> Shard:
    """Read a shard written as `2/8`.

    Raises:
      ValueError: it is none.
    """
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ValueError(f"shard={text}: expected I/N with I from 1 to N, such as 2/8")
    return Shard(int(number), int(of))


def of_shard(cohorts: Sequence[Cohort], shard: Shard) -> list[Cohort]:
    """Return the runs that a shard trains: with the others, every run once.

    Shards have about the same work, and as few cohorts as that allows, since each compiles its own.
    What a shard holds depends on the grid alone, not on what is finished.
    """
    whole = sum(cohort.work for cohort in cohorts)
    before = 0.0
    parts = []
    for cohort in cohorts:
        each = cohort.work / len(cohort.runs)
        middles = [before + (index + 0.5) * each for index in range(len(cohort.runs))]
        runs = [
            run
            for run, middle in zip(cohort.runs, middles, strict=True)
            if int(shard.of * middle / whole) == shard.number - 1
        ]
        if runs:
            parts.append(piece(cohort, runs))
        before += cohort.work
    return parts


def pieces(cohort: Cohort, count: int) -> list[Cohort]:
    """Cut a cohort into so many, of about as many runs each; no more than it has runs."""
    count = min(count, len(cohort.runs))
    bounds = [len(cohort.runs) * index // count for index in range(count + 1)]
    return [piece(cohort, cohort.runs[start:end]) for start, end in itertools.pairwise(bounds)]


def piece(cohort: Cohort, runs: Sequence[Run]) -> Cohort:
    """Return some of a cohort's runs as a cohort with an id of its own, or the cohort itself."""
    if len(runs) == len(cohort.runs):
        return cohort
    text = " ".join([cohort.id, *(run.id for run in runs)])
    identity = hashlib.sha256(text.encode()).hexdigest()[:12]
    return dataclasses.replace(cohort, runs=tuple(runs), id=identity)
