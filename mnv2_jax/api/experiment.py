"""An experiment: a config, a grid over its fields, and the claims that the runs decide."""

import functools
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ml_collections import ConfigDict

from mnv2_jax import terminal
from mnv2_jax.ablation import (
    cohort,
    estimates,
    grid,
    networks,
    phases,
    pretrained,
    records,
    resolve,
)
from mnv2_jax.ablation.grid import Grid
from mnv2_jax.ablation.job import DataOptions, Job
from mnv2_jax.ablation.launchers import find
from mnv2_jax.ablation.pretrained import PretrainedWeights
from mnv2_jax.ablation.sweep import Progress, Saving
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.analysis.verdicts import check, undecidable
from mnv2_jax.api import files, running
from mnv2_jax.api.results import Results, checked_claims
from mnv2_jax.api.running import Origin, Planned
from mnv2_jax.api.telling import teller
from mnv2_jax.data import preview
from mnv2_jax.data.sources import Dataset, Selection
from mnv2_jax.train import setup


class Experiment:
    """Networks to be trained and compared.

    Of a config with a section `transfer`, the runs are those of all phases that it comes to, see
    `mnv2_jax.ablation.phases`.

    Attributes:
      name: its title, and its folder under runs/.
      config: one run; a grid changes fields of it.
      grid: points over its fields; None is one run, of the config as it is.
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
          name: its title.
          pinned: fields that keep the config's value: an axis of the grid on one collapses.
          pretrained: a base that transfers start from: the folder of a run, or a file of weights.
          files: Python files that other processes execute first, such as one that registers a
            preset.
        """
        _check_kind("config", config, ConfigDict, "a ConfigDict; Experiment.from_file takes a path")
        if grid is not None:
            _check_kind("grid", grid, Grid, "a Grid, such as mnv2_jax.ablation.grid.axis makes")
        self.config = config
        self.grid = grid
        self.claims = checked_claims(claims)
        self.name = name
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
        parts = files.read(config)
        for path in values:
            grid.check_field(parts.config, path)
        found = grid.with_fields(parts.config, values)
        one = cls(
            config=found,
            grid=parts.grid,
            claims=parts.claims,
            name=parts.name,
            pinned=values,
            pretrained=pretrained,
            files=[parts.path],
        )
        given = f", {json.dumps(values, default=str)}" if values else ""
        one._text = f"Experiment.from_file({json.dumps(config)}{given})"
        return one

    def plan(
        self, seeds: int | Iterable[int] | None = None, *, data_dir: str | Path | None = None
    ) -> pd.DataFrame:
        """Plan every run, without training it.

        Args:
          seeds: see `run`.
          data_dir: see `run`.

        Returns:
          A row per run: run_id; the label of its cohort; params and madds of its network, for one
          image; the fields in which runs differ; and the seconds that it takes here, where networks
          like it have been trained before.

        Raises:
          ValueError: a value is wrong; the message names the field and what would be right.
          OSError: the data cannot be read.
        """
        cohorts = self.prepare(seeds, _data(data_dir)).cohorts
        known = {one.id: estimates.seconds(one) for one in cohorts}
        rows = pd.DataFrame(records.planned(cohorts))
        fixed = ("run_id", "params", "madds")
        varied = [
            name for name in rows if name not in fixed and rows[name].nunique(dropna=False) > 1
        ]
        labels = [one.label for one in cohorts for _ in one.runs]
        seconds = [
            (known[one.id] or float("nan")) / len(one.runs) for one in cohorts for _ in one.runs
        ]
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
          progress: True prints how far it is; False prints nothing; or an object with the methods
            of `mnv2_jax.ablation.sweep.Progress`, which is told.
          seeds: how many, or which ones, instead of the grid's own.
          data_dir: the folder of prepared data sets; by default one in the user's cache folder.
          data_workers: processes that decode images which are streamed; see `DataOptions`.
          on_corrupt: "fail" or "skip"; see `DataOptions`.
          checkpoint_seconds: see `mnv2_jax.ablation.sweep.Saving`.
          keep_checkpoints: keep those of finished runs, too.
          keep_networks: keep the trained network of each run, to `load` or evaluate it; by default
            where all together are under 200 MB. Transfers always do.
          compilation_cache: the folder of compiled programs, or "off"; by default one in the
            user's cache folder.
          origin: what the records say of how this was started.

        Raises:
          ValueError: a value is wrong; the message names it and what would be right.
          OSError: the workdir or the data cannot be read or written.
          Interrupted: a signal came, such as a notebook's interrupt; what was trained is saved, and
            the same call goes on.
        """
        setup.begin(compilation_cache)
        trains = find(launcher)
        seeds = _seeds(seeds)
        origin = origin or self._origin(seeds)
        data = DataOptions(_text(data_dir), data_workers, on_corrupt)
        told = teller(progress)
        planned = self.prepare(seeds, data, told.say)
        self._planned = None  # A folder of images may change until the next call.
        kept, line = networks.are_kept("transfer" in self.config or keep_networks, planned.cohorts)
        job = Job(
            workdir="",
            parts=(),
            command=origin.command,
            data=data,
            saving=Saving(checkpoint_seconds, keep_checkpoints, kept),
            pretrained=str(Path(self._pretrained).resolve()) if self._pretrained else "",
            files=self._files,
            compilation_cache=compilation_cache,
        )
        where = workdir or Path("runs") / self.name
        here, outcome = running.run(
            planned,
            where,
            job=job,
            launcher=trains,
            teller=told,
            origin=origin,
            choices=[line],
        )
        return Results(here, planned.claims, outcome)

    def preview(self, path: str | Path, *, data: DataOptions | None = None) -> None:
        """Draw what a run's network is trained on, of its first batch, into a PNG file.

        It is the first run; of a transfer the last one, whose images are the most augmented.

        Raises:
          ValueError: the name does not end in .png, or a value of the config is wrong.
          OSError: the file cannot be written, or the data not read.
        """
        setup.begin()
        if Path(path).suffix != ".png":
            raise ValueError(f"preview={path}: expected a file that ends in .png")
        configs, _ = self._configs(None)
        shown = configs[-1 if "transfer" in self.config else 0]
        (one,) = cohort.plan([shown], (data or DataOptions()).open)
        find("local").check([one])
        program, seed = one.program, int(one.runs[0].values.data_seed)
        preview.draw_first_batch(
            path=Path(path),
            dataset=one.dataset,
            batch_size=program.recipe.batch_size,
            seed=seed,
            augmentation=program.augmentation,
            scaling=program.scaling,
        )

    def prepare(
        self,
        seeds: int | Iterable[int] | None = None,
        data: DataOptions | None = None,
        say: Callable[[str], None] = terminal.say,
    ) -> Planned:
        """Check everything about every run and claim, and sort runs into cohorts.

        Args:
          seeds: see `run`.
          data: how data sets are found and decoded.
          say: is told how far the check of a folder of images is.

        Raises:
          ValueError: a value is wrong; the message names the field and what would be right.
          OSError: the data cannot be read.
        """
        setup.begin()
        chosen = _seeds(seeds)
        data = data or DataOptions()
        text = grid.canonical_json(self.config)  # It may be changed between two calls.
        key = text, self.grid, tuple(self.claims), chosen, data
        if self._planned is None or self._planned[0] != key:
            self._planned = key, self._prepared(chosen, functools.partial(data.open, tell=say))
        return self._planned[1]

    def _prepared(
        self, seeds: tuple[int, ...] | None, load: Callable[[Selection], Dataset]
    ) -> Planned:
        claims = checked_claims(self.claims)
        configs, given = self._configs(seeds)
        cohorts = tuple(cohort.plan(configs, load))
        if given:
            pretrained.check_fits(given, cohorts)
        check(claims, records.columns([run for one in cohorts for run in one.runs]))
        found = dict.fromkeys(line for one in cohorts for line in one.dataset.remarks)
        remarks = (*found, *undecidable(claims, records.planned(cohorts)))
        return Planned(self.name, cohorts, claims, remarks, given)

    def _configs(
        self, seeds: tuple[int, ...] | None
    ) -> tuple[list[ConfigDict], PretrainedWeights | None]:
        """Return the configs of all runs, and the base that they start from."""
        points, pinned = self.grid, self._pinned
        if seeds is not None:
            points, pinned = grid.with_seeds(self.grid, seeds), pinned - {"seed"}
        configs = [self.config] if points is None else grid.expand(self.config, points, pinned)
        if "transfer" not in self.config:
            if self._pretrained is not None:
                raise ValueError(
                    f"pretrained={self._pretrained}: the config has no section `transfer`; "
                    f"expected one such as that of configs/transfer.py"
                )
            return configs, None
        for config in configs:
            resolve.check_fields(config)
        given = None if self._pretrained is None else _given(str(self._pretrained))
        if given is None:
            return phases.runs(configs), None
        for config in configs:
            given.settle(config)
        runs = phases.runs(configs, given.identity)
        if not any(run.transfer.start == given.identity for run in runs):
            raise ValueError(
                f"pretrained={self._pretrained}: no run starts from it; expected runs of the "
                f"phases 'extraction' or 'finetuning' in config.transfer.phase"
            )
        return runs, given

    def _origin(self, seeds: tuple[int, ...] | None) -> Origin:
        """Return what is recorded where no command line started this process."""
        which = "" if seeds is None else f"seeds={list(seeds)}"
        text = f"mnv2_jax.api: {self._text}.run({which})"
        return Origin(text, text, self._files[0] if self._files else self._text)


def _given(where: str) -> PretrainedWeights:
    if not where:
        raise ValueError("pretrained: it is empty; expected the folder of a run, or a file")
    try:
        return PretrainedWeights.open(Path(where))
    except ValueError as error:
        raise ValueError(f"pretrained={error}") from None


def _check_kind(name: str, value: object, kind: type, expected: str) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name}={value!r:.60}: expected {expected}")


def _seeds(seeds: int | Iterable[int] | None) -> tuple[int, ...] | None:
    if seeds is None:
        return None
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ValueError(f"seeds={seeds}: expected how many, 1 or more, or which ones")
        return tuple(range(seeds))
    chosen = tuple(seeds) if isinstance(seeds, Iterable) else ()
    if not chosen or not all(isinstance(one, int) for one in chosen):
        raise ValueError(f"seeds={seeds!r:.60}: expected how many, or which ones, such as [0, 2]")
    return chosen


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def _data(folder: str | Path | None) -> DataOptions:
    return DataOptions(_text(folder))
