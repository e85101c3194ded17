"""An experiment: a config, a grid over its fields, and the claims that the runs decide."""

import functools
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ml_collections import ConfigDict

from mnv2_jax import terminal
from mnv2_jax.ablation import cohort, estimates, grid, networks, records
from mnv2_jax.ablation.grid import Grid
from mnv2_jax.ablation.job import DataOptions, Job
from mnv2_jax.ablation.launchers import find
from mnv2_jax.ablation.seeds import Auto
from mnv2_jax.ablation.sweep import Progress, Saving
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.api import running
from mnv2_jax.api.messages import messages_to
from mnv2_jax.api.planning import Design, Planned, checked_claims, read_config_file
from mnv2_jax.api.results import Results
from mnv2_jax.api.running import Origin
from mnv2_jax.data import preview
from mnv2_jax.train import setup


class Experiment:
    """Networks to train and compare.

    A config with a section `transfer` gives the runs of all its phases, see
    `mnv2_jax.ablation.phases`.

    Attributes:
      name: its folder under runs/.
      title: the heading of its report; by default the name.
      config: one run; a grid changes fields of it.
      grid: points over the config's fields; None is one run, of the config as it is.
      claims: to be decided.
    """

    def __init__(
        self,
        config: ConfigDict,
        grid: Grid | None = None,
        claims: Iterable[Claim] = (),
        name: str = "experiment",
        *,
        pinned: Collection[str] = (),
        pretrained: str | Path | None = None,
        files: Iterable[str | Path] = (),
    ) -> None:
        """Describe an experiment; nothing is checked or trained yet.

        Args:
          config: every field, such as configs/digits.py sets them.
          grid: see `mnv2_jax.ablation.grid`.
          claims: see `mnv2_jax.analysis.claims`.
          name: its folder under runs/, and its title in the report.
          pinned: fields that keep the config's value: an axis of the grid on one collapses.
          pretrained: the folder of a run or a file of weights that transfers start from.
          files: Python files that other processes execute first, such as one that registers a
            preset.

        Raises:
          ValueError: the config, the grid or a claim is of another type.
        """
        _check_kind("config", config, ConfigDict, "a ConfigDict; Experiment.from_file takes a path")
        if grid is not None:
            _check_kind("grid", grid, Grid, "a Grid, such as mnv2_jax.ablation.grid.axis makes")
        self.config = config
        self.grid = grid
        self.claims = checked_claims(claims)
        self.name = name
        self.title = ""
        self._pinned = frozenset(pinned)
        self._pretrained = pretrained
        self._files = tuple(str(Path(file).resolve()) for file in files)
        self._text = f"Experiment(config, grid, claims, name={json.dumps(name)})"
        self._planned: tuple[Any, Planned] | None = None

    @classmethod
    def from_file(
        cls,
        config: str,
        overrides: Mapping[str, Any] | None = None,
        *,
        pretrained: str | Path | None = None,
    ) -> "Experiment":
        """Make the experiment of a config file.

        Args:
          config: the file, and after a colon its argument, such as "configs/digits.py:shortcut".
          overrides: values of fields, such as {"model.expansion": 6}; the same in all runs.
          pretrained: see `Experiment`.

        Raises:
          ValueError: there is no such file, it is wrong, or it has no such field.
        """
        values = dict(overrides or {})
        design = read_config_file(config)
        for path in values:
            grid.check_field(design.config, path)
        experiment = cls(
            config=grid.with_fields(design.config, values),
            grid=design.grid,
            claims=design.claims,
            name=design.name,
            pinned=values,
            pretrained=pretrained,
            files=[config.partition(":")[0]],
        )
        experiment.title = design.title
        arguments = f", {json.dumps(values, default=str)}" if values else ""
        experiment._text = f"Experiment.from_file({json.dumps(config)}{arguments})"
        return experiment

    def plan(
        self, seeds: int | Iterable[int] | None = None, *, data_dir: str | Path | None = None
    ) -> pd.DataFrame:
        """Tabulate the runs, without training them; the certain ones, if seeds stop by themselves.

        Args:
          seeds: see `run`.
          data_dir: see `run`.

        Returns:
          A row per run: run_id; the label of its cohort; params and madds of its network, for one
          image; the fields in which runs differ; and an estimate of its seconds, NaN where no such
          network has been trained here before.

        Raises:
          ValueError: a value is wrong; the message names the field and what would be right.
          OSError: the data cannot be read.
        """
        cohorts = self.prepare(seeds, DataOptions(_text(data_dir))).certain.cohorts
        rows = pd.DataFrame(records.planned(cohorts))
        fixed = ("run_id", "params", "madds", "classes")
        varied = [
            name for name in rows if name not in fixed and rows[name].nunique(dropna=False) > 1
        ]
        labels, seconds = [], []
        for part in cohorts:
            count, estimate = len(part.runs), estimates.seconds(part)
            labels += [part.label] * count
            seconds += [float("nan") if estimate is None else estimate / count] * count
        table = rows.assign(cohort=labels, seconds=seconds)
        return table[["run_id", "cohort", "params", "madds", *varied, "seconds"]]

    def run(
        self,
        workdir: str | Path | None = None,
        launcher: Any = "local",
        progress: bool | Progress = True,
        seeds: int | Iterable[int] | None = None,
        *,
        data_dir: str | Path | None = None,
        data_workers: int | None = None,
        on_corrupt: str = "fail",
        checkpoint_seconds: float = 60.0,
        keep_checkpoints: bool = False,
        keep_networks: bool | None = None,
        compilation_cache: str | None = None,
        origin: Origin | None = None,
    ) -> Results:
        """Train the runs that are not finished, decide the claims and write the report.

        Finished runs are skipped, and killed ones resume from their last checkpoint.

        Args:
          workdir: the experiment's folder, which may be gs://BUCKET/PATH or s3://BUCKET/PATH; by
            default runs/NAME.
          launcher: a name of `mnv2_jax.ablation.launchers`, FILE.py:NAME, a `Launcher`, or a
            function of a job and a watch.
          progress: True prints messages and progress, False prints nothing; or an object with the
            methods of `mnv2_jax.ablation.sweep.Progress`, which are called instead.
          seeds: how many, which ones, or `mnv2_jax.ablation.grid.auto(...)`, by which they stop by
            themselves, instead of the grid's own.
          data_dir: the folder of prepared data sets; by default one in the user's cache folder.
          data_workers: processes that decode images which are streamed; see `DataOptions`.
          on_corrupt: "fail" or "skip"; see `DataOptions`.
          checkpoint_seconds: see `mnv2_jax.ablation.sweep.Saving`.
          keep_checkpoints: keep those of finished runs, too.
          keep_networks: keep the trained network of each run, to `load` or evaluate it; by default
            where all together take less than 200 MB. Transfers always keep them.
          compilation_cache: the folder of compiled programs, or "off"; by default one in the
            user's cache folder.
          origin: the command that the records name; by default this call.

        Raises:
          ValueError: a value is wrong; the message names it and what would be right.
          OSError: the workdir or the data cannot be read or written.
          Interrupted: a signal came, such as a notebook's interrupt; what was trained is saved, and
            the same call resumes.
        """
        setup.begin(compilation_cache)
        launcher = find(launcher)
        seeds = _seeds(seeds)
        origin = origin or self._origin(seeds)
        data = DataOptions(_text(data_dir), data_workers, on_corrupt)
        messages = messages_to(progress)
        planned = self.prepare(seeds, data, messages.say)
        self._planned = None  # A folder of images may change until the next call.
        kept, line = networks.are_kept("transfer" in self.config or keep_networks, planned.cohorts)
        job = Job(
            workdir="",
            parts=(),
            command=origin.command,
            data=data,
            saving=Saving(checkpoint_seconds, keep_checkpoints, kept),
            pretrained=str(Path(self._pretrained).absolute()) if self._pretrained else "",
            files=self._files,
            compilation_cache=compilation_cache,
        )
        here, outcome = running.run(
            planned,
            workdir or Path("runs") / self.name,
            job=job,
            launcher=launcher,
            messages=messages,
            origin=origin,
            remarks=[line],
        )
        return Results(here, planned.claims, outcome)

    def preview(self, path: str | Path, *, data: DataOptions | None = None) -> None:
        """Draw the first batch that the network of a run is trained on into a PNG file.

        The run is the first one; of a transfer the last one, whose images are the most augmented.

        Raises:
          ValueError: the name does not end in .png, or a value of the config is wrong.
          OSError: the file cannot be written, or the data not read.
        """
        setup.begin()
        if Path(path).suffix != ".png":
            raise ValueError(f"preview={path}: expected a file that ends in .png")
        load = (data or DataOptions()).open
        configs, *_ = self._design(None).runs(load)
        config = configs[-1 if "transfer" in self.config else 0]
        (planned,) = cohort.plan([config], load)
        find("local").check([planned])
        preview.draw_first_batch(
            path=Path(path),
            dataset=planned.dataset,
            batch_size=planned.program.recipe.batch_size,
            seed=int(planned.runs[0].values.data_seed),
            augmentation=planned.program.augmentation,
            scaling=planned.program.scaling,
        )

    def prepare(
        self,
        seeds: int | Iterable[int] | None = None,
        data: DataOptions | None = None,
        say: Callable[[str], None] = terminal.say,
    ) -> Planned:
        """Check every run and every claim, and sort the runs into cohorts.

        Args:
          seeds: see `run`.
          data: how data sets are found and decoded.
          say: takes a line, on the progress of checking a folder of images.

        Raises:
          ValueError: a value is wrong; the message names the field and what would be right.
          OSError: the data cannot be read.
        """
        setup.begin()
        design = self._design(_seeds(seeds))
        data = data or DataOptions()
        text = grid.canonical_json(design.config)  # It may be changed between two calls.
        key = text, design.grid, design.claims, design.seeds, data
        if self._planned is None or self._planned[0] != key:
            self._planned = key, design.plan(functools.partial(data.open, tell=say))
        return self._planned[1]

    def _design(self, seeds: tuple[int, ...] | Auto | None) -> Design:
        return Design(
            name=self.name,
            config=self.config,
            grid=self.grid,
            claims=checked_claims(self.claims),
            pinned=self._pinned,
            pretrained=self._pretrained,
            seeds=seeds,
            title=self.title,
        )

    def _origin(self, seeds: tuple[int, ...] | Auto | None) -> Origin:
        """Return the origin of runs that no command line started."""
        given = seeds if seeds is None or isinstance(seeds, Auto) else list(seeds)
        text = f"mnv2_jax.api: {self._text}.run({'' if given is None else f'seeds={given}'})"
        return Origin(text, text, self._files[0] if self._files else self._text)


def _check_kind(name: str, value: object, kind: type, expected: str) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name}={value!r:.60}: expected {expected}")


def _seeds(seeds: int | Iterable[int] | None) -> tuple[int, ...] | Auto | None:
    if seeds is None or isinstance(seeds, Auto):
        return seeds
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ValueError(f"seeds={seeds}: expected how many, 1 or more, or which ones")
        return tuple(range(seeds))
    chosen = tuple(seeds) if isinstance(seeds, Iterable) else ()
    if not chosen or not all(isinstance(seed, int) for seed in chosen):
        raise ValueError(f"seeds={seeds!r:.60}: expected how many, or which ones, such as [0, 2]")
    return chosen


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
