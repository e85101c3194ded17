"""The base class of launchers, which train jobs in this process or elsewhere."""

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Sequence

from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.job import Job
from mnv2_jax.ablation.sweep import Outcome, Progress
from mnv2_jax.ablation.trainers import Trainers
from mnv2_jax.ablation.workdir import Workdir
from mnv2_jax.train.preemption import StopRequest


@dataclasses.dataclass(frozen=True)
class Watch:
    """The launching process, as its launcher sees it.

    Attributes:
      workdir: the experiment's folder, claimed according to the launcher's `part`.
      stop: the signals that stop the job; the process listens to them.
      say: prints a line.
      progress: opens a progress display for cohorts that this process trains.
      recorded: updates results.csv; call it from time to time.
      trainers: of this process; those of one job may be kept for the next.
    """

    workdir: Workdir
    stop: StopRequest
    say: Callable[[str], None]
    progress: Callable[[Sequence[Cohort]], contextlib.AbstractContextManager[Progress]]
    recorded: Callable[[], object]
    trainers: Trainers = dataclasses.field(default_factory=Trainers)


class Launcher(abc.ABC):
    """Trains jobs. A user's own launcher overrides `launch`; its constructor has no arguments."""

    @property
    def part(self) -> str:
        """The part of the workdir to claim, such that others may claim other parts; "" for all.

        With all of it claimed, leftovers of killed processes are removed.
        """
        return "launcher"

    def select(self, cohorts: Sequence[Cohort]) -> list[Cohort]:
        """Return the part of a grid to train; by default all."""
        return list(cohorts)

    def check(self, cohorts: Sequence[Cohort]) -> None:
        """Refuse what it cannot train, before anything is trained; by default nothing.

        Raises:
          ValueError: the message names the field and the expected values.
        """
        return None

    @abc.abstractmethod
    def launch(self, job: Job, watch: Watch) -> Outcome:
        """Train a job, and write the records of its runs; see `mnv2_jax.ablation.sweep`.

        Raises:
          ValueError: an image cannot be decoded, or something that it needs is missing.
          OSError: a result cannot be written.
          Interrupted: a signal came.
        """
