"""Trainers of a process, which keeps them where an experiment is trained in rounds."""

import dataclasses
from collections.abc import Sequence

import jax

from mnv2_jax.ablation import chunks
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.ablation.estimates import Measured
from mnv2_jax.train import compilation
from mnv2_jax.train.loop import Trainer


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A trainer with its compiled programs.

    Attributes:
      trainer: of as many lanes as memory holds.
      measured: the times of its compilation.
      notes: lines on choices.
    """

    trainer: Trainer
    measured: Measured
    notes: Sequence[str]


class Trainers:
    """Compiles the trainers of cohorts and, in rounds, keeps them.

    The last bits of a result depend on the number of lanes of its program. In rounds that number
    is a function of the round's runs, so that a resumed experiment has the same programs. On CPU it
    is that of the first round, since places without a lane cost nothing; elsewhere that, or half of
    it, a quarter and so on, if that is enough.
    """

    def __init__(self, first: Sequence[Cohort] = ()) -> None:
        """Compile trainers; `first` are the cohorts of the first of several rounds."""
        self._first = {part.id: _lanes(part, part.runs) for part in first}
        self._kept: dict[tuple[str, int], Compiled] = {}
        self._latest: Trainer | None = None

    def of(self, cohort: Cohort, workers: int, lanes: int = 0) -> Compiled:
        """Return a trainer of a cohort; compile it unless it is kept.

        Args:
          cohort: what is kept for it is kept for other pieces of the same one, too.
          workers: processes that decode streamed images.
          lanes: their number, if a checkpoint needs it; by default as many as train together.

        Raises:
          jax.errors.JaxRuntimeError: not even the fewest lanes fit into memory.
        """
        lanes = lanes or self._number(cohort)
        key = cohort.whole or cohort.id, lanes
        if key in self._kept:
            return self._kept[key]
        compiled = self._compiled(cohort, lanes, workers)
        if self._first:
            self._kept[key] = compiled
        return compiled

    def with_fewer(self, cohort: Cohort, fewer: int, workers: int) -> Compiled:
        """Compile a trainer of fewer lanes after one of this cohort ran out of memory."""
        whole = cohort.whole or cohort.id
        larger = [key for key in self._kept if key[0] == whole and key[1] > fewer]
        for key in larger:  # Frees their memory.
            del self._kept[key]
        self._latest = None
        compiled = self._compiled(cohort, fewer, workers)
        self._kept |= dict.fromkeys(larger, compiled)
        return compiled

    def _compiled(self, cohort: Cohort, lanes: int, workers: int) -> Compiled:
        """Compile, unless the trainer compiled last has the same programs for other images."""
        notes: list[str] = []
        with compilation.timed() as times:
            trainer = chunks.trainer_of(cohort, lanes, workers, notes.append, self._latest)
        self._latest = trainer
        return Compiled(trainer, Measured(trainer.layout.count, times), notes)

    def _number(self, cohort: Cohort) -> int:
        first = self._first.get(cohort.whole or cohort.id)
        if first is None:
            return _lanes(cohort, cohort.runs)
        needed = _lanes(cohort, [*cohort.runs, *cohort.finished])
        lanes = max(first, needed)
        if jax.default_backend() == "cpu":
            return lanes
        while (half := -(-lanes // 2)) >= needed and half < lanes:
            lanes = half
        return lanes


def _lanes(cohort: Cohort, runs: Sequence[Run]) -> int:
    """Return the largest number of runs that may train together."""
    return max(map(len, chunks.split(runs, len(runs), cohort.feed()[0])))
