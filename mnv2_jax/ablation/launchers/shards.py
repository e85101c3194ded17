"""Cuts a grid into parts that separate processes train."""

import dataclasses
import itertools
from collections.abc import Sequence

from mnv2_jax.ablation import grid
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.ablation.launchers.local import Local


@dataclasses.dataclass(frozen=True)
class Shard(Local):
    """Trains one of the parts of a grid in this process, for job arrays.

    Attributes:
      number: from 1.
      of: the number of parts.
    """

    number: int
    of: int

    @property
    def part(self) -> str:
        """See `Launcher`: shards of other numbers claim other parts."""
        return f"shard-{self.number}-of-{self.of}"

    def select(self, cohorts: Sequence[Cohort]) -> list[Cohort]:
        """See `Launcher`, and `of_shard`."""
        return of_shard(cohorts, self)

    def __str__(self) -> str:
        return f"--shard={self.number}/{self.of}"


def parse(text: str) -> Shard:
    """Read a shard written as `2/8`.

    Raises:
      ValueError: the text is no shard.
    """
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ValueError(f"shard={text}: expected I/N with I from 1 to N, such as 2/8")
    return Shard(int(number), int(of))


def of_shard(cohorts: Sequence[Cohort], shard: Shard) -> list[Cohort]:
    """Return the runs that a shard trains; all shards together train every run once.

    Shards have about equal work, and as few cohorts as that allows, since each cohort is compiled.
    They depend on the grid alone, not on which runs are finished.
    """
    total = sum(cohort.work for cohort in cohorts)
    before = 0.0
    parts = []
    for cohort in cohorts:
        each = cohort.work / len(cohort.runs)
        middles = [before + (index + 0.5) * each for index in range(len(cohort.runs))]
        runs = [
            run
            for run, middle in zip(cohort.runs, middles, strict=True)
            if int(shard.of * middle / total) == shard.number - 1
        ]
        if runs:
            parts.append(piece(cohort, runs))
        before += cohort.work
    return parts


def pieces(cohort: Cohort, count: int) -> list[Cohort]:
    """Cut a cohort into `count` cohorts of about equal size, or fewer if it has fewer runs."""
    count = min(count, len(cohort.runs))
    bounds = [len(cohort.runs) * index // count for index in range(count + 1)]
    return [piece(cohort, cohort.runs[start:end]) for start, end in itertools.pairwise(bounds)]


def piece(cohort: Cohort, runs: Sequence[Run]) -> Cohort:
    """Return a cohort of some of the runs, with another id; the cohort itself for all of them."""
    if len(runs) == len(cohort.runs):
        return cohort
    identity = grid.digest(" ".join([cohort.id, *(run.id for run in runs)]))
    whole = cohort.whole or cohort.id
    return dataclasses.replace(cohort, runs=tuple(runs), id=identity, whole=whole)
