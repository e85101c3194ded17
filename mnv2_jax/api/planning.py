"""Experiments from config files, checked and sorted into cohorts before anything trains."""

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mnv2_jax import config_file
from mnv2_jax.ablation import cohort, grid, ids, phases, pretrained, records, resolve
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.ablation.grid import Grid
from mnv2_jax.ablation.pretrained import PretrainedWeights
from mnv2_jax.ablation.seeds import Auto
from mnv2_jax.analysis.claims import KINDS, Claim
from mnv2_jax.analysis.verdicts import check, undecidable
from mnv2_jax.data import folders
from mnv2_jax.data.sources import Dataset, Selection

_MOST_UNDECIDED = 12
"""The most runs that are trained though they decide no claim: a quick look."""


def checked_claims(claims: Any) -> tuple[Claim, ...]:
    """Return the claims of a caller.

    Raises:
      ValueError: one of them is no `Claim`.
    """
    values = tuple(claims) if isinstance(claims, Iterable) else (claims,)
    if all(isinstance(claim, Claim) for claim in values):
        return values
    raise ValueError(f"claims={claims!r:.60}: expected a list of mnv2_jax.analysis.claims.Claim")


@dataclasses.dataclass(frozen=True)
class Planned:
    """An experiment that can be run.

    Attributes:
      name: of its folder.
      cohorts: all of its runs.
      claims: to be decided.
      remarks: lines to print first: on seeds that stop by themselves, on folders of images, on
        layers of given weights that are left out, and on claims that cannot be decided.
      pretrained: the weights that runs start from, if they come from outside of the experiment.
      title: its heading in the report; by default the name.
      seeds: the plan by which they stop by themselves, `cohorts` having all of the budget; or None.
    """

    name: str
    cohorts: tuple[Cohort, ...]
    claims: tuple[Claim, ...]
    remarks: tuple[str, ...]
    pretrained: PretrainedWeights | None
    title: str = ""
    seeds: Auto | None = None

    @property
    def count(self) -> int:
        """The number of its runs."""
        return sum(len(part.runs) for part in self.cohorts)

    @property
    def runs(self) -> dict[str, Run]:
        """All of its runs, by id."""
        return {run.id: run for part in self.cohorts for run in part.runs}

    @property
    def certain(self) -> "Planned":
        """The experiment with the runs that are trained in any case."""
        if self.seeds is None:
            return self
        least = {name for name, run in self.runs.items() if run.config.seed in self.seeds}
        return self.of(self.with_starts(least))

    def of(self, ids: Collection[str]) -> "Planned":
        """Return the experiment with some of its runs."""
        chosen = ((part, tuple(run for run in part.runs if run.id in ids)) for part in self.cohorts)
        cohorts = tuple(dataclasses.replace(part, runs=own) for part, own in chosen if own)
        return dataclasses.replace(self, cohorts=cohorts)

    def with_starts(self, ids: Collection[str]) -> set[str]:
        """Return the ids of runs, and of those that they start from."""
        runs = self.runs
        found: set[str] = set()
        new = {*ids}
        while new:
            found |= new
            configs = [runs[name].config for name in new]
            starts = {one.transfer.start for one in configs if "transfer" in one}
            new = (starts & runs.keys()) - found
        return found


@dataclasses.dataclass(frozen=True)
class Design:
    """An experiment before its runs are checked.

    Attributes are those of `mnv2_jax.api.experiment.Experiment`; `seeds` replace the grid's own.
    `title` is the heading of the report.
    """

    name: str
    config: ConfigDict
    grid: Grid | None
    claims: tuple[Claim, ...]
    pinned: Collection[str] = ()
    pretrained: str | Path | None = None
    seeds: tuple[int, ...] | Auto | None = None
    title: str = ""

    @property
    def auto(self) -> Auto | None:
        """The plan by which seeds stop by themselves; None if they do not."""
        if self.seeds is None and self.grid and "seed" not in self.pinned:
            return self.grid.seeds
        return self.seeds if isinstance(self.seeds, Auto) else None

    def plan(self, load: Callable[[Selection], Dataset]) -> Planned:
        """Check every run and every claim, and sort the runs into cohorts.

        Args:
          load: opens a data set.

        Raises:
          ValueError: a value is wrong; the message names the field and what would be right.
          OSError: the data cannot be read.
        """
        load = functools.cache(load)
        configs, weights, taken = self.runs(load)
        cohorts = tuple(cohort.plan(configs, load))
        left_out: tuple[str, ...] = ()
        if weights:
            pretrained.check_fits(weights, cohorts)
            left_out = pretrained.left_out(weights, cohorts)
        check(self.claims, records.columns([run for part in cohorts for run in part.runs]))
        if not any(part.evaluate_test for part in cohorts):
            _check_untested(self.claims)
        remarks = dict.fromkeys(line for part in cohorts for line in part.dataset.remarks)
        undecided = self._undecided(records.planned(cohorts))
        said = (*taken, *left_out, *remarks, *undecided)
        plan = self.auto
        planned = Planned(self.name, cohorts, self.claims, said, weights, self.title, plan)
        if plan is None:
            return planned
        on_seeds = (
            f"Seeds: {plan.minimum} at first, then {plan.step} at a time until every claim is "
            f"decided, {plan.budget} at most: {planned.certain.count} to {planned.count} runs"
        )
        return dataclasses.replace(planned, remarks=(on_seeds, *said))

    def _undecided(self, runs: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return a line for each claim that the runs cannot decide.

        Raises:
          ValueError: there is none that they can decide, and too many of them for a quick look.
        """
        lines = undecidable(self.claims, runs)
        remedy = "leave out what pins the compared fields"
        # A user's own kind of claim may do with one seed.
        ours = self.claims and all(type(claim) in KINDS.values() for claim in self.claims)
        if ours and len({run["seed"] for run in runs}) == 1:
            lines.append("no claim can be decided by one seed, which gives no interval")
            remedy = "leave out what pins the seed (--config.seed)"
        elif not self.claims or len(lines) < len(self.claims):
            return lines
        if len(runs) > _MOST_UNDECIDED:
            raise ValueError(
                f"claims: {len(runs)} runs would decide none of them: {lines[-1]}; {remedy}, or "
                f"train {_MOST_UNDECIDED} runs or fewer"
            )
        return lines

    def runs(
        self, load: Callable[[Selection], Dataset]
    ) -> tuple[list[ConfigDict], PretrainedWeights | None, tuple[str, ...]]:
        """Return the configs of all runs, the weights that they start from, and remarks on these.

        Args:
          load: see `plan`.

        Raises:
          ValueError: see `plan`.
        """
        points, pinned = self.grid, frozenset(self.pinned)
        seeds = range(self.auto.budget) if self.auto else self.seeds
        if seeds is not None:
            points, pinned = grid.with_seeds(self.grid, seeds), pinned - {"seed"}
        configs = [self.config] if points is None else grid.expand(self.config, points, pinned)
        if "transfer" not in self.config:
            if self.pretrained is not None:
                raise ValueError(
                    f"pretrained={self.pretrained}: the config has no section `transfer`; "
                    f"expected one such as that of configs/transfer.py"
                )
            return configs, None, ()
        for config in configs:
            resolve.check_fields(config)
        if self.pretrained is None:
            return phases.runs(configs), None, ()
        weights = _opened(str(self.pretrained))
        axes = {path for point in (points.points if points else ()) for path in point}
        taken: dict[str, Any] = {}
        for config in configs:
            channels = load(resolve.data_selection(config)).train.shape[-1]
            taken |= weights.settle(config, channels, pinned | axes)
        runs = phases.runs(configs, weights.identity)
        if not any(run.transfer.start == weights.identity for run in runs):
            raise ValueError(
                f"pretrained={self.pretrained}: no run starts from it; expected runs of the "
                f"phases 'extraction' or 'finetuning' in config.transfer.phase"
            )
        texts = ", ".join(f"config.{path}={value!r}" for path, value in taken.items())
        remarks = [f"Weights: {weights}"]
        remarks += [f"Taken from them: {texts}"] if taken else []
        if any(run.data.split == "per_seed" for run in runs):
            remarks.append(
                "config.data.split='per_seed': the weights do not tell which images they were "
                "trained on; if those are of the same data set, test images are among them"
            )
        return runs, weights, tuple(remarks)


def _check_untested(claims: Iterable[Claim]) -> None:
    """Refuse claims about test images where no run reads these."""
    for claim in claims:
        if claim.metric.startswith("test_"):
            other = claim.metric.replace("test_", "validation_", 1)
            raise ValueError(
                f"claim {claim.name!r}: metric={claim.metric!r}: config.evaluate_test=False leaves "
                f"test images unread; expected a metric such as {other!r}, or "
                f"config.evaluate_test=True"
            )


def read_config_file(config: str) -> Design:
    """Return the experiment of a config file, named after the file and its argument.

    Its title is the first line of the file's docstring.

    Args:
      config: the path, and after a colon the argument of `get_config`, `get_grid` and `get_claims`.

    Raises:
      ValueError: there is no such file, or a function of it is wrong; see `mnv2_jax.config_file`.
    """
    values = config_file.config(config)
    ids.complete(values)
    name, colon, argument = config.partition(":")
    path, arguments = Path(name), (argument,) if colon else ()
    claims = config_file.call(path, "get_claims", arguments, "a list of claims", _are_claims)
    points = config_file.call(
        path, "get_grid", arguments, "a Grid", lambda value: isinstance(value, Grid)
    )
    parts = [folders.own_name(part) for part in argument.split(",")]
    words = [path.stem, *(re.sub(r"\W+", "_", part).strip("_") for part in parts)]
    first, *_ = (config_file.load(path).__doc__ or "").strip().splitlines() or [""]
    return Design(
        name="_".join(filter(None, words)),
        config=values,
        grid=points,
        claims=tuple(claims),
        title=first.strip().removesuffix("."),
    )


def _are_claims(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(claim, Claim) for claim in value)


def _opened(path: str) -> PretrainedWeights:
    if not path:
        raise ValueError("pretrained: it is empty; expected the folder of a run, or a file")
    try:
        return PretrainedWeights.open(Path(path))
    except ValueError as error:
        raise ValueError(f"pretrained={error}") from None
