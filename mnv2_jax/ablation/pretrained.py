"""Pretrained networks that runs start from: those of earlier runs, or given weights."""

import dataclasses
import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from mnv2_jax import arch, checksums
from mnv2_jax.ablation import bases, grid, ids, networks, phases, records, resolve
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.data import augment
from mnv2_jax.nn import pretrained, trained, weight_files
from mnv2_jax.nn.network import variable_shapes
from mnv2_jax.train.tuning import Start

OF_WEIGHTS = "weights"
"""The value of `config.data.scaling` and `config.model.conventions` that lets given weights decide
them."""

_PAPER = {
    **{
        knob: getattr(arch.BlockSpec(), knob)
        for knob in ("projection", "shortcut", "shortcut_weight", "activation")
    },
    "shortcut_blocks": "all",
}
"""Knobs that weights do not show: other libraries train with the values of the paper."""

_SCALINGS = {"keras": "symmetric", "slim": "symmetric", "torchvision": "imagenet"}
"""Scaling of images for the weights of other libraries, by their conventions."""


class NotTrained(Exception):
    """Raised where the run that another one starts from has not been trained."""


@dataclasses.dataclass(frozen=True, eq=False)
class PretrainedWeights:
    """A file of weights to start from.

    Attributes:
      path: of the file.
      identity: "file-" and a hash of its content.
      source: the library that wrote it.
      conventions: name of the conventions of its training; "" for a network of this project.
      scaling: scaling of images; "" if the file does not tell.
      network: the network, if it is one of this project.
    """

    path: Path
    identity: str
    source: str
    conventions: str
    scaling: str
    network: trained.Trained | None

    @classmethod
    def open(cls, where: Path) -> "PretrainedWeights":
        """Read a file of weights, or the network of a run or experiment.

        Args:
          where: the file, an index of shards, or a folder: that of a run, of an experiment, or one
            that transformers or timm wrote.

        Raises:
          ValueError: there are no weights; one line, with the path.
        """
        path = _file(where)
        ours = path.is_file() and path.suffix == ".safetensors" and trained.is_trained(path)
        if ours:
            network = trained.load(path)
            source, conventions, scaling = "mnv2_jax", "", network.scaling
        else:
            network = None
            source, conventions = pretrained.origin(path)
            scaling = "" if source == "mnv2_jax" else _SCALINGS[conventions]
        digest = hashlib.sha256()
        for file in weight_files.files(path):
            digest.update(file.read_bytes())
        return cls(path, f"file-{digest.hexdigest()[:12]}", source, conventions, scaling, network)

    def __str__(self) -> str:
        known = {"conventions": self.conventions, "images scaled": self.scaling}
        texts = [f"{name} {value}" for name, value in known.items() if value]
        return f"{self.path} ({', '.join([self.source, *texts])})"

    def settle(
        self, config: ConfigDict, channels: int, said: Collection[str] = ()
    ) -> dict[str, Any]:
        """Set the fields of a config that the weights decide.

        These are the scaling of images, and conventions; of a network of this project also all of
        its model, and the size and channels of its images. Of other libraries, the knobs are those
        of the paper.

        Args:
          config: it is changed.
          channels: of the images of its data set.
          said: the paths of fields that the user sets.

        Returns:
          The fields that had another value, other than `OF_WEIGHTS`, by path.

        Raises:
          ValueError: the user sets fields to other values, all of which are named; or the weights
            leave open what the config leaves to them.
        """
        facts, fields = self._facts(config, channels), grid.fields(config)
        changed = {
            path: value for path, value in facts.items() if fields[path] not in (value, OF_WEIGHTS)
        }
        wrong = {path: value for path, value in changed.items() if path in said}
        if self.network and any(path.startswith("model.") for path in wrong):
            wished = {path.removeprefix("model."): fields[path] for path in wrong}
            if bases.builds({**self._model(config), **wished}, self.network.spec):
                wrong = {path: value for path, value in wrong.items() if path.startswith("data.")}
        if wrong:
            right = ", ".join(f"config.{path}={value!r}" for path, value in wrong.items())
            theirs = ", ".join(repr(fields[path]) for path in wrong)
            raise ValueError(
                f"pretrained={self.path}: it was trained ({self.source}) with {right}, not "
                f"{theirs}; expected these fields left out: they are taken from it"
            )
        taken = {path: value for path, value in facts.items() if path not in said}
        taken |= {path: facts[path] for path in facts if fields[path] == OF_WEIGHTS}
        for path, value in taken.items():
            section, _, field = path.partition(".")
            config[section][field] = value
        self._check_decided(config)
        return {path: value for path, value in changed.items() if path in taken}

    def _facts(self, config: ConfigDict, channels: int) -> dict[str, Any]:
        """Return the values of the fields that the weights decide, by path."""
        facts: dict[str, Any] = {}
        if self.scaling:
            facts["data.scaling"] = self.scaling
        if self.network is None:
            facts["model.conventions"] = self.conventions
            if self.source == "mnv2_jax":
                return facts
            if (config.data.channels or channels) != 3:
                facts["data.channels"] = 3
            return facts | {f"model.{knob}": value for knob, value in _PAPER.items()}
        spec = self.network.spec
        facts["data.resolution"] = spec.resolution
        if spec.in_channels != (config.data.channels or channels):
            facts["data.channels"] = spec.in_channels
        return facts | {f"model.{name}": value for name, value in self._model(config).items()}

    def _model(self, config: ConfigDict) -> dict[str, Any]:
        """Return fields of `config.model` that build the network.

        Raises:
          ValueError: there are none.
        """
        assert self.network is not None
        try:
            recorded = checksums.read_json(self.path.parent / "config.json")
            model = dict(ids.with_current_names(recorded)["model"])
        except (OSError, ValueError, LookupError, TypeError):
            model = {}
        known = {name: value for name, value in model.items() if name in config.model}
        found = bases.model_of(self.network.spec, config.model.to_dict(), known)
        if not found:
            name = f" (its config has {known['preset']!r})" if "preset" in known else ""
            raise ValueError(
                f"pretrained={self.path}: no preset known here builds its network{name}; expected "
                f"a config file that registers its preset, or sets config.model as it was trained"
            )
        return found

    def _check_decided(self, config: ConfigDict) -> None:
        """Check that nothing is left to the weights that these do not tell."""
        for path, value, choices in (
            ("data.scaling", config.data.scaling, augment.SCALINGS),
            ("model.conventions", config.model.conventions, arch.CONVENTIONS),
        ):
            if value == OF_WEIGHTS:
                raise ValueError(
                    f"config.{path}={value!r}: {self.path} ({self.source}) does not tell it; "
                    f"expected one of {', '.join(choices)}"
                )

    def start(self, spec: arch.NetworkSpec) -> Start:
        """Return the weights as the base of a network.

        Raises:
          ValueError: they are those of another network, or not finite.
        """
        if self.network:
            if differing := bases.differences(self.network.spec, spec):
                raise ValueError(
                    f"{self.path}: what was trained there has {'; '.join(differing)}; expected a "
                    f"config of that network"
                )
            variables = self.network.variables
        else:
            variables = self.loaded(spec).variables
        base = _base(variables)
        for name, leaf in traverse_util.flatten_dict(base, sep="/").items():
            if not np.isfinite(leaf).all():
                raise ValueError(
                    f"{self.path}: {name} holds numbers that are not finite; expected weights of a "
                    f"training that did not diverge"
                )
        return Start(base)

    def loaded(self, spec: arch.NetworkSpec) -> pretrained.Loaded:
        """Return the weights of a file of another library, or of an export.

        Raises:
          ValueError: they are those of another network.
        """
        # The loader keeps zeros for the classifier alone, which `_base` drops.
        unread = jax.tree.map(lambda leaf: np.zeros(leaf.shape), variable_shapes(spec))
        return pretrained.load(self.path, spec, unread)


class PretrainedLoader:
    """Loads the networks that runs start from: those of runs in `workdir`, or `given` weights."""

    def __init__(self, workdir: Path, given: PretrainedWeights | None = None) -> None:
        self._workdir = workdir
        self._given = given
        self._start = functools.lru_cache(maxsize=4)(PretrainedWeights.start)
        self._load = functools.lru_cache(maxsize=64)(trained.load)

    def load(self, run: Run, cohort: Cohort) -> Start | None:
        """Return what a run starts from; None if it starts from random weights.

        Raises:
          NotTrained: its base has not been trained, or its network cannot be read.
          ValueError: the given base is another network.
        """
        transfer = run.config.get("transfer")
        if transfer is None or not transfer.start:
            return None
        if self._given and transfer.start == self._given.identity:
            return self._start(self._given, resolve.network(run.config, cohort.dataset))
        folder = self._workdir / "runs" / transfer.start
        try:
            network = self._load(folder / trained.FILE)
        except ValueError as error:
            reason = f": {error}; to have that run trained again, remove its folder"
            if records.read(self._workdir, transfer.start) is None:
                reason = ", which has not been trained; the same command tries both again"
            raise NotTrained(f"run {run.id} starts from run {transfer.start}{reason}") from None
        if transfer.phase == "finetuning":
            return Start(network.variables, network.optimizer)
        return Start(_base(network.variables))


def check_fits(given: PretrainedWeights, cohorts: Sequence[Cohort]) -> None:
    """Check that given weights fit all runs that start from them.

    Raises:
      ValueError: they are of another network.
    """
    # Run by run, since lanes of a cohort may differ in projection and shortcut.
    specs = [
        resolve.network(run.config, cohort.dataset)
        for cohort in cohorts
        for run in cohort.runs
        if run.config.transfer.start == given.identity
    ]
    for spec in dict.fromkeys(specs):
        try:
            given.start(spec)
        except ValueError as error:
            raise ValueError(f"pretrained={error}") from None


def left_out(given: PretrainedWeights, cohorts: Sequence[Cohort]) -> tuple[str, ...]:
    """Return a line on the layers of a file of weights that no run starts from, if it has any.

    Args:
      given: weights that fit all runs that start from them.
      cohorts: all runs.
    """
    if given.network:
        return ()
    specs = (
        resolve.network(run.config, cohort.dataset)
        for cohort in cohorts
        for run in cohort.runs
        if run.config.transfer.start == given.identity
    )
    head = given.loaded(next(specs)).head
    some = ", ".join(head[:4]) + (f" and {len(head) - 4} more" if len(head) > 4 else "")
    return (f"{given.path} ({given.source}): left out its head, {some}",) if head else ()


def _file(where: Path) -> Path:
    """Return the file of weights at a path."""
    for path in (where / f"model{weight_files.INDEX}", where / "model.safetensors", where):
        if weight_files.is_weights(path) and path.is_file():
            return path
    try:
        return networks.find(where)
    except ValueError as error:
        raise ValueError(f"{error}; or {phases.BASES}") from None


def _base(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return all variables but those of the classifier, which is of other classes."""
    return {
        name: {part: tree for part, tree in parts.items() if part != "classifier"}
        for name, parts in variables.items()
    }
