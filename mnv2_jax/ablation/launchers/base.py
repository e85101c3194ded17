"""The protocol of launchers: they train a job, here or elsewhere."""

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Sequence

from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.job import Job
from mnv2_jax.ablation.sweep import Outcome, Progress
from mnv2_jax.ablation.workdir import Workdir
from mnv2_jax.train.preemption import StopRequest


@dataclasses.dataclass(frozen=True)
class Watch:
    """The process that launches a job, which writes its table and report: what it offers.

    Attributes:
      workdir: the experiment's folder, claimed as the launcher's `part` says.
      stop: signals that are to end the job; they are listened to.
      say: prints a line for people.
      progress: a block in which this process trains cohorts, and tells how far it is.
      recorded: to be called now and then: brings results.csv up to date.
    """

    workdir: Workdir
    stop: StopRequest
    say: Callable[[str], None]
    progress: Callable[[Sequence[Cohort]], contextlib.AbstractContextManager[Progress]]
    recorded: Callable[[], object]


class Launcher(abc.ABC):
    """Trains jobs. A launcher of one's own overrides `launch`, and has no arguments."""

    @property
    def part(self) -> str:
        """The part of the workdir that it claims: others may work in other parts; "" for all of it.

        What has all of it may remove what killed processes left.
        """
        return "launcher"

    def select(self, cohorts: Sequence[Cohort]) -> list[Cohort]:
        """Return the part of a grid that it trains; by default all."""
        return list(cohorts)

    def check(self, cohorts: Sequence[Cohort]) -> None:
        """Refuse what it cannot train, before anything is trained.

        Raises:
          ValueError: the message names the field and what would be right.
        """
        return None

    @abc.abstractmethod
    def launch(self, job: Job, watch: Watch) -> Outcome:
        """Train a job. Records of runs appear in its workdir; see `mnv2_jax.ablation.sweep`.

        Raises:
          ValueError: an image cannot be decoded, or what it needs is not there.
          OSError: a result cannot be written.
          Interrupted: a signal came.
        """
