"""Trains in this process."""

from collections.abc import Callable, Sequence

from mnv2_jax.ablation import chunks, estimates, finished, workdir
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.job import Job
from mnv2_jax.ablation.launchers.base import Launcher, Watch
from mnv2_jax.ablation.sweep import Outcome, Progress, Sweep
from mnv2_jax.ablation.trainers import Trainers
from mnv2_jax.ablation.workdir import Workdir
from mnv2_jax.train import processes, setup
from mnv2_jax.train.preemption import StopRequest


class Local(Launcher):
    """Trains cohort by cohort, on all devices of this process."""

    @property
    def part(self) -> str:
        """See `Launcher`: the whole workdir."""
        return ""

    def check(self, cohorts: Sequence[Cohort]) -> None:
        """See `Launcher`: refuses what cannot fit into memory."""
        chunks.check_memory(cohorts)

    def launch(self, job: Job, watch: Watch) -> Outcome:
        """See `Launcher`."""
        with watch.progress(job.cohorts) as progress:
            return _train(job, watch.workdir, progress, watch.stop, watch.recorded, watch.trainers)


def train_for_another(job: Job) -> Outcome:
    """Train a job in this process, for another one that writes table and report.

    Raises:
      ValueError: a config is wrong on this machine, an image cannot be decoded, or another process
        trains the same job.
      OSError: a result cannot be written.
      Interrupted: a signal came.
    """
    setup.begin(job.compilation_cache)
    stop = StopRequest()
    runs = [run for part in job.cohorts for run in (*part.runs, *part.finished)]
    starts = [run.config.transfer.start for run in runs if "transfer" in run.config]
    needed = [*(run.id for run in runs), *starts]
    with workdir.claimed(job.workdir, f"pack-{job.id}", needed) as folder, stop.listening():
        todo = job.with_cohorts(finished.remaining(folder.path, job.cohorts))
        chunks.check_memory(todo.cohorts)
        return _train(todo, folder, Progress(), stop, lambda: None, Trainers())


def _train(
    job: Job,
    folder: Workdir,
    progress: Progress,
    stop: StopRequest,
    recorded: Callable[[], object],
    trainers: Trainers,
) -> Outcome:
    sweep = Sweep(
        folder.path,
        job.cohorts,
        job.command,
        progress,
        stop=stop,
        saving=job.saving,
        workers=job.data.workers_here(),
        recorded=recorded,
        given=job.given,
        trainers=trainers,
    )
    outcome = sweep.run()
    if processes.is_primary():
        estimates.note(folder.path, job.cohorts, sweep.measured)
    return outcome
