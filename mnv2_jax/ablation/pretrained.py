"""Pretrained networks that runs start from: those of earlier runs, or given weights."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from mnv2_jax import arch, checksums
from mnv2_jax.ablation import ids, networks, phases, records, resolve
from mnv2_jax.ablation.cohort import Cohort, Run
from mnv2_jax.data import augment
from mnv2_jax.nn import pretrained, trained, weight_files
from mnv2_jax.nn.network import variable_shapes
from mnv2_jax.train.tuning import Start

OF_WEIGHTS = "weights"
"""The value of `config.data.scaling` and `config.model.conventions` that lets given weights decide
them."""

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

    def settle(self, config: ConfigDict) -> None:
        """Set the scaling and conventions of a config to those of the weights.

        Raises:
          ValueError: the config's scaling, conventions or resolution contradict the weights.
        """
        self._follow(config.data, "config.data.scaling", "scaling", self.scaling)
        if self.network is None:
            self._follow(config.model, "config.model.conventions", "conventions", self.conventions)
        elif config.model.conventions == OF_WEIGHTS:
            config.model.conventions = _named(self.network.spec.conventions)
        if self.network and self.network.spec.resolution != config.data.resolution:
            raise ValueError(
                f"config.data.resolution={config.data.resolution}: {self.path} was trained on "
                f"images of {self.network.spec.resolution} pixels; expected that"
            )

    def start(self, spec: arch.NetworkSpec) -> Start:
        """Return the weights as the base of a network.

        Raises:
          ValueError: they are those of another network, or not finite.
        """
        if self.network:
            _check_same(self.path, self.network.spec, spec)
            variables = self.network.variables
        else:
            if self.source != "mnv2_jax":
                self._check_knobs(spec)
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

    def _check_knobs(self, spec: arch.NetworkSpec) -> None:
        """Check knobs that weights do not show: other libraries train with the paper's values."""
        paper = arch.BlockSpec()
        for block in spec.blocks:
            for knob in ("projection", "shortcut", "activation"):
                if getattr(block, knob) != getattr(paper, knob):
                    raise ValueError(
                        f"{self.path}: {self.source} trained it with "
                        f"{knob}={getattr(paper, knob)!r}; expected that of config.model.{knob}, "
                        f"not {getattr(block, knob)!r}"
                    )

    def _follow(self, section: ConfigDict, path: str, field: str, right: str) -> None:
        wish = section[field]
        if wish == OF_WEIGHTS and right:
            section[field] = right
        elif right and wish != right:
            raise ValueError(
                f"{path}={wish!r}: {self.path} ({self.source}) goes with {right!r}; expected that, "
                f"or {OF_WEIGHTS!r}"
            )
        elif wish == OF_WEIGHTS:
            raise ValueError(
                f"{path}={wish!r}: {self.path} ({self.source}) does not say how its images were "
                f"scaled; expected one of {', '.join(augment.SCALINGS)}"
            )


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
            raise ValueError(f"pretrained={error}{_trained_with(given, cohorts)}") from None


def _trained_with(given: PretrainedWeights, cohorts: Sequence[Cohort]) -> str:
    """Return, for an error, the flags with which the network was trained, where they differ."""
    try:
        config = checksums.read_json(given.path.parent / "config.json")
        model = dict(ids.with_current_names(config)["model"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    ours = cohorts[0].runs[0].config.model
    differing = [
        f"--config.model.{name}={value}" for name, value in model.items() if ours.get(name) != value
    ]
    return f"; it was trained with {' '.join(differing)}" if differing else ""


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


def _named(conventions: arch.Conventions) -> str:
    """Return the name of conventions, whatever their dropout."""
    for name, ways in arch.CONVENTIONS.items():
        if dataclasses.replace(ways, dropout=conventions.dropout) == conventions:
            return name
    raise ValueError(
        f"config.model.conventions={OF_WEIGHTS!r}: those of the weights have no name; expected one "
        f"of {', '.join(arch.CONVENTIONS)}"
    )


def _check_same(path: Path, given: arch.NetworkSpec, wanted: arch.NetworkSpec) -> None:
    """Check that two networks compute the same features; the error names the first difference."""
    if len(given.blocks) != len(wanted.blocks):
        raise ValueError(
            f"{path}: a network of {len(given.blocks)} blocks; the config's has "
            f"{len(wanted.blocks)}: expected the model that was trained there"
        )
    if given.in_channels != wanted.in_channels:
        raise ValueError(
            f"{path}: a network for images of {given.in_channels} channels; those of the config's "
            f"data set have {wanted.in_channels}: expected a data set of such images"
        )
    pairs: list[tuple[str, Any, Any]] = [("the network that was", given, wanted)]
    pairs += [
        (f"block_{number:02} that was", *both)
        for number, both in enumerate(zip(given.blocks, wanted.blocks, strict=True), start=1)
    ]
    pairs.append(("the conventions of what was", given.conventions, wanted.conventions))
    ignored = ("blocks", "classes", "conventions", "dropout", "initializer", "norm_momentum")
    for what, theirs, ours in pairs:
        for field in dataclasses.fields(theirs):
            left, right = getattr(theirs, field.name), getattr(ours, field.name)
            if field.name not in ignored and left != right:
                raise ValueError(
                    f"{path}: {field.name}={left!r} in {what} trained there, {right!r} in the "
                    f"config's: expected the same, as --config.model sets it"
                )
