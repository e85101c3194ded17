"""A job: runs to be trained, as plain data that a process elsewhere can be given."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mnv2_jax import config_file, cores, terminal
from mnv2_jax.ablation import cohort
from mnv2_jax.ablation.cohort import Cohort
from mnv2_jax.ablation.pretrained import PretrainedWeights
from mnv2_jax.ablation.sweep import Saving
from mnv2_jax.arch import check_choice
from mnv2_jax.data import sources


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """The way that data sets are found and decoded.

    Attributes:
      folder: of prepared data sets; by default one in the user's cache folder.
      workers: processes that decode images which are streamed; 0 decodes in threads. By default 0
        on CPU, else all cores but one. No number changes what comes out.
      on_corrupt: "fail" at an image that cannot be decoded, or "skip" it and tell.

    Raises:
      ValueError: a value is none of these.
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
        if folder and not folder.is_dir() and selection.name not in sources.EMBEDDED:
            what = "it is a file" if folder.exists() else "no such folder"
            raise ValueError(f"data_dir={folder}: {what}; expected that of prepared data sets")
        skip = self.on_corrupt == "skip"
        return sources.load(
            selection, folder, skip_corrupt=skip, overlapping=overlapping, tell=tell
        )

    def workers_here(self) -> int:
        """Return how many processes decode on this machine."""
        if self.workers is not None:
            return self.workers
        return 0 if jax.default_backend() == "cpu" else max(1, cores.available() - 1)


@dataclasses.dataclass(frozen=True)
class Part:
    """A cohort of a job, or a piece of one, as plain data.

    Attributes:
      id: its checkpoints' name.
      label: its name for people.
      configs: resolved, of the runs to train.
      finished: of the runs that have a record; a chunk that was interrupted may hold some.
    """

    id: str
    label: str
    configs: tuple[ConfigDict, ...]
    finished: tuple[ConfigDict, ...] = ()


@dataclasses.dataclass(frozen=True)
class Job:
    """Runs to be trained, and all that a process elsewhere needs to know to train them.

    A job can be pickled. It knows no command line.

    Attributes:
      workdir: the experiment's folder: a path, or a bucket's URI.
      parts: the cohorts.
      command: what started the experiment, for the records.
      data: how data sets are found and decoded.
      saving: when checkpoints are written, and what is kept.
      pretrained: path of a base that runs start from; empty where there is none.
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
        """The parts, planned: where the job was made as they were, elsewhere by their configs.

        Raises:
          ValueError: a config is wrong here, such as one that names a data set that is not there.
          OSError: a data set cannot be read.
        """
        for file in self.files:
            config_file.load(Path(file))
        load = functools.cache(self.data.open)
        return tuple(_planned(part, load) for part in self.parts)

    @functools.cached_property
    def given(self) -> PretrainedWeights | None:
        """The base that runs start from.

        Raises:
          ValueError: there are no weights.
        """
        return PretrainedWeights.open(Path(self.pretrained)) if self.pretrained else None

    @property
    def id(self) -> str:
        """The id of its cohort, or of several a hash."""
        if len(self.parts) == 1:
            return self.parts[0].id
        text = " ".join(part.id for part in self.parts)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def with_cohorts(self, cohorts: Sequence[Cohort]) -> "Job":
        """Return the same job for other cohorts, which may be pieces of its own."""
        job = dataclasses.replace(self, parts=tuple(map(_part, cohorts)))
        vars(job)["cohorts"] = tuple(cohorts)
        return job

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def _part(one: Cohort) -> Part:
    runs, finished = (tuple(run.config for run in part) for part in (one.runs, one.finished))
    return Part(one.id, one.label, runs, finished)


def _planned(part: Part, load: Any) -> Cohort:
    (whole,) = cohort.plan([*part.configs, *part.finished], load)
    count = len(part.configs)
    return dataclasses.replace(
        whole,
        id=part.id,
        label=part.label,
        runs=whole.runs[:count],
        finished=whole.runs[count:],
    )
