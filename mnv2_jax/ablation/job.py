"""A job: runs to train, as plain data that can be sent to another process."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mnv2_jax import config_file, cores, terminal
from mnv2_jax.ablation import cohort, grid
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.pretrained import PretrainedWeights
from mnv2_jax.ablation.sweep import Saving
from mnv2_jax.arch import check_choice
from mnv2_jax.data import embedded, sources


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Options of finding and decoding data sets.

    Attributes:
      folder: the folder of prepared data sets; by default one in the user's cache folder.
      workers: processes that decode streamed images; 0 decodes in threads. By default 0 on CPU,
        else all cores but one. The number does not change results.
      on_corrupt: "fail" at an image that cannot be decoded, or "skip" it and print a line.

    Raises:
      ValueError: a value is wrong.
    """

    folder: str | None = None
    workers: int | None = None
    on_corrupt: str = "fail"

    def __post_init__(self) -> None:
        check_choice("on_corrupt", self.on_corrupt, ("fail", "skip"))
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"data_workers={self.workers}: expected a whole number, 0 or more")

    def open(
        self,
        selection: sources.Selection,
        *,
        overlapping: bool = False,
        tell: Callable[[str], None] = terminal.say,
    ) -> sources.Dataset:
        """Open a data set; see `mnv2_jax.data.sources.load`.

        Raises:
          ValueError: there is no such folder, or no such data set in it.
          OSError: the data set cannot be read.
        """
        folder = Path(self.folder) if self.folder else None
        if folder and not folder.is_dir() and selection.name not in embedded.EMBEDDED:
            what = "it is a file" if folder.exists() else "no such folder"
            raise ValueError(f"data_dir={folder}: {what}; expected that of prepared data sets")
        skip = self.on_corrupt == "skip"
        return sources.load(
            selection, folder, skip_corrupt=skip, overlapping=overlapping, tell=tell
        )

    def workers_here(self) -> int:
        """Return the number of processes that decode on this machine."""
        if self.workers is not None:
            return self.workers
        return 0 if jax.default_backend() == "cpu" else max(1, cores.available() - 1)


@dataclasses.dataclass(frozen=True)
class Part:
    """A cohort, or a piece of one, as plain data.

    Attributes:
      id: see `Cohort`.
      label: see `Cohort`.
      configs: resolved configs of the runs to train.
      finished: configs of runs that have a record; an interrupted chunk may hold some.
    """

    id: str
    label: str
    configs: tuple[ConfigDict, ...]
    finished: tuple[ConfigDict, ...] = ()


@dataclasses.dataclass(frozen=True)
class Job:
    """Runs to train, and everything that another process needs to train them. Can be pickled.

    Attributes:
      workdir: the experiment's folder: a path, or a bucket's URI.
      parts: the cohorts.
      command: the command that started the experiment, for the records.
      data: how data sets are found and decoded.
      saving: when checkpoints are written, and what is kept.
      pretrained: path of given weights that runs start from; "" if there are none.
      files: Python files to execute first: a config file may register presets.
      compilation_cache: see `mnv2_jax.train.setup.begin`.
    """

    workdir: str
    parts: tuple[Part, ...]
    command: str
    data: DataOptions = DataOptions()
    saving: Saving = dataclasses.field(default_factory=Saving)
    pretrained: str = ""
    files: tuple[str, ...] = ()
    compilation_cache: str | None = None

    @functools.cached_property
    def cohorts(self) -> tuple[Cohort, ...]:
        """The cohorts of the parts: in another process, planned again from their configs.

        Raises:
          ValueError: a config is wrong on this machine, for example its data set is missing.
          OSError: a data set cannot be read.
        """
        for file in self.files:
            config_file.load(Path(file))
        load = functools.cache(self.data.open)
        return tuple(_planned(part, load) for part in self.parts)

    @functools.cached_property
    def given(self) -> PretrainedWeights | None:
        """The given weights that runs start from.

        Raises:
          ValueError: there are none at the path.
        """
        return PretrainedWeights.open(Path(self.pretrained)) if self.pretrained else None

    @property
    def id(self) -> str:
        """The id of its cohort, or a hash of the ids of several."""
        if len(self.parts) == 1:
            return self.parts[0].id
        return grid.digest(" ".join(part.id for part in self.parts))

    def with_cohorts(self, cohorts: Sequence[Cohort]) -> "Job":
        """Return the same job with other cohorts."""
        job = dataclasses.replace(self, parts=tuple(map(_as_part, cohorts)))
        vars(job)["cohorts"] = tuple(cohorts)
        return job

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def _as_part(cohort: Cohort) -> Part:
    return Part(
        id=cohort.id,
        label=cohort.label,
        configs=tuple(run.config for run in cohort.runs),
        finished=tuple(run.config for run in cohort.finished),
    )


def _planned(part: Part, load: Any) -> Cohort:
    (planned,) = cohort.plan([*part.configs, *part.finished], load)
    count = len(part.configs)
    runs, finished = planned.runs[:count], planned.runs[count:]
    return dataclasses.replace(planned, id=part.id, label=part.label, runs=runs, finished=finished)
