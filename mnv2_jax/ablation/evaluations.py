"""Evaluates finished runs again, by the networks that they keep; writes side tables."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mnv2_jax import checksums, metrics, schema, side_tables, user_code
from mnv2_jax.ablation import cohort, evaluators, finished, grid, ids, networks, records, resolve
from mnv2_jax.ablation.evaluators import Subject
from mnv2_jax.ablation.job import DataOptions
from mnv2_jax.arch import CLIPS, NetworkSpec, check_choice
from mnv2_jax.data import folders
from mnv2_jax.data.images import Images
from mnv2_jax.data.sources import Dataset, Selection
from mnv2_jax.metrics import SPLITS, Metric
from mnv2_jax.nn import trained
from mnv2_jax.nn.trained import Trained
from mnv2_jax.side_tables import SideTable
from mnv2_jax.train import environment
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram


@dataclasses.dataclass(frozen=True)
class Request:
    """A measurement of finished runs that is asked for.

    Attributes:
      split: of the data that runs were trained on: train, validation or test; of other data a split
        as TFDS writes it.
      data: another data set, with the same classes, which may be the path of a folder of images; ""
        for that of each run.
      evaluator: a name of `mnv2_jax.ablation.evaluators`, or `FILE.py:FUNCTION`.
      metrics: names with commas, beside those that runs were measured by.
      name: of the side table; by default that of the data or split, and of the evaluator.

    Raises:
      ValueError: a value is wrong; the message names it and what would be right.
    """

    split: str = "test"
    data: str = ""
    evaluator: str = "metrics"
    metrics: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if not self.data:
            check_choice("split", self.split, SPLITS)
        evaluators.find(self.evaluator)
        if self.name and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"name={self.name!r}: expected letters, digits and any of _-.")

    @property
    def table(self) -> str:
        """The name of the side table."""
        function = self.evaluator.rpartition(":")[2]
        data = folders.own_name(self.data).rstrip("/")
        parts = [data or self.split, *([function] if function != "metrics" else [])]
        return self.name or re.sub(r"[^\w.-]+", "_", "_".join(parts))


class _Network(NamedTuple):
    """A run that keeps its network."""

    run: str
    config: ConfigDict
    trained: Trained


class _Group(NamedTuple):
    """The things in common of networks that one program measures together."""

    spec: NetworkSpec
    scaling: str
    compute_dtype: str
    batch_size: int
    metrics: tuple[Metric, ...]
    selection: Selection
    seed: int


def evaluate(
    workdir: Path,
    request: Request,
    options: DataOptions,
    say: Callable[[str], None] = lambda line: None,
) -> SideTable:
    """Measure the networks that runs of an experiment keep, and write a side table.

    Args:
      workdir: the experiment's folder.
      request: what to measure.
      options: how data sets are found and decoded.
      say: is told how far it is.

    Raises:
      ValueError: no run keeps its network, the data set has other classes, or an image cannot be
        decoded.
      OSError: a network or a data set cannot be read, or the table not written.
    """
    _check_name(workdir, request)
    groups: dict[_Group, list[_Network]] = {}
    count = 0
    for network in _networks(workdir):
        groups.setdefault(_group(network, request), []).append(network)
        count += 1
    if not count:
        raise ValueError(
            f"workdir={workdir}: no finished run there keeps its network; expected an experiment "
            f"that was trained with --keep_networks"
        )
    rows: dict[str, dict[str, float]] = {}
    columns: dict[str, schema.Column] = {}
    problems: set[str] = set()
    for group, members in groups.items():
        subject = _subject(group, members, request, options, problems.update, say)
        measured = _measured(request, subject)
        for network, of_run in zip(members, measured, strict=True):
            rows[network.run] = {f"{request.table}/{name}": x for name, x in of_run.items()}
        for name in dict.fromkeys(name for of_run in measured for name in of_run):
            columns[f"{request.table}/{name}"] = _column(request.table, name, subject)
        say(f"evaluated {len(rows)} of {count} networks")
    for line in sorted(problems):
        say(f"left out: {line}")
    about = {
        **dataclasses.asdict(request),
        "device": environment.device_name(jax.devices()),
        **environment.checkout(),
    }
    records_of = {run: side_tables.record_of(workdir, run) for run in rows}
    table = SideTable(request.table, columns, rows, about, records_of)
    side_tables.write(workdir, table)
    return table


def _check_name(workdir: Path, request: Request) -> None:
    """Refuse a name that another measurement has: claims of it would come to mean another thing."""
    here = [one for one in side_tables.read_all(workdir) if one.name == request.table]
    for field in ("split", "data", "evaluator"):
        for table in here:
            there = table.about.get(field)
            if there != getattr(request, field):
                raise ValueError(
                    f"name={request.table!r}: the side table of that name is of "
                    f"{field}={there!r}; expected another name, or its files in "
                    f"{side_tables.FOLDER}/ removed"
                )


def _measured(request: Request, subject: Subject) -> list[dict[str, float]]:
    """Return the measures of an evaluator, which may be a user's own, checked."""
    evaluator, what = evaluators.find(request.evaluator), f"evaluator={request.evaluator!r}"
    try:
        found = list(evaluator(subject))
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"{what}: {user_code.fault(error, evaluator)}") from error
    if len(found) != len(subject.runs):
        raise ValueError(
            f"{what}: it gives measures of {len(found)} networks; expected {len(subject.runs)}"
        )
    for of_run in found:
        if not (isinstance(of_run, Mapping) and of_run):
            raise ValueError(f"{what}: it gives {of_run!r:.60} of a network; expected measures")
        for name, value in of_run.items():
            is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if not (re.fullmatch(r"\w+", str(name)) and is_number and math.isfinite(value)):
                raise ValueError(
                    f"{what}: measure {name!r} is {value!r:.60}; expected a name of letters, "
                    f"digits and _, and a finite number"
                )
    return [{name: float(value) for name, value in of_run.items()} for of_run in found]


def _networks(workdir: Path) -> Iterator[_Network]:
    """Return the finished runs that keep their networks, in the order of their ids."""
    for folder in networks.of_runs(workdir):
        row = records.read(workdir, folder.name, ("config.json", "result.json"))
        if row is None or row["status"] != "done" or not (folder / trained.FILE).is_file():
            continue
        config = ConfigDict(ids.with_current_names(checksums.read_json(folder / "config.json")))
        ids.complete(config)
        network = _Network(folder.name, config, trained.load(folder / trained.FILE))
        _check_code(workdir, network)
        yield network


def _check_code(workdir: Path, network: _Network) -> None:
    """Check that a network computes what it computed when it was trained, by the same jax."""
    environment = records.read_environment(workdir, network.run)
    if finished.by_other_code(environment, cohort.network_fingerprint(network.trained.spec)):
        model = network.config.model
        raise ValueError(
            f"workdir={workdir}: run {network.run} was trained by other code of block "
            f"{model.block!r} or projection {model.projection!r}; expected that code"
        )


def _group(network: _Network, request: Request) -> _Group:
    config, found = network.config, network.trained
    selection = resolve.data_selection(config)
    if request.data:
        split = request.split
        selection = dataclasses.replace(
            selection, name=request.data, train=split, validation=split, test=split
        )
    # Runs train on images of their own where there are few of each class.
    drawn = request.split == "train" and not request.data and selection.images_per_class > 0
    names = [*metrics.names(config.metrics), *metrics.names(request.metrics)]
    return _Group(
        _of_lanes(found.spec),
        found.scaling,
        config.train.compute_dtype,
        config.train.evaluation_batch_size,
        metrics.choose(names, len(found.class_names)),
        selection if drawn else dataclasses.replace(selection, images_per_class=0),
        int(config.seed) if drawn else 0,
    )


def _of_lanes(spec: NetworkSpec) -> NetworkSpec:
    """Return the network of the lanes' program: it takes slopes where this network has one."""
    shared = cohort.without_lane_values(spec)
    clips = (CLIPS.get(block.projection) for block in spec.blocks)
    if not any(clip and clip.slope for clip in clips):
        return shared
    blocks = tuple(dataclasses.replace(one, projection="leaky_relu") for one in shared.blocks)
    return dataclasses.replace(shared, blocks=blocks)


def _subject(
    group: _Group,
    members: Sequence[_Network],
    request: Request,
    options: DataOptions,
    leave_out: Callable[[Any], None],
    say: Callable[[str], None],
) -> Subject:
    # Of another data set one split stands for all three.
    dataset = options.open(group.selection, overlapping=bool(request.data), tell=say)
    names = members[0].trained.class_names
    if dataset.class_names != names:
        raise ValueError(
            f"data={group.selection.name}: classes {', '.join(dataset.class_names[:5])}, ...; "
            f"expected those of the networks, {', '.join(names[:5])}, ..."
        )
    batch = group.batch_size
    recipe = Recipe(1, batch, batch, compute_dtype=group.compute_dtype)
    program = LaneProgram(group.spec, recipe, 1, scaling=group.scaling, metrics=group.metrics)
    return Subject(
        [member.run for member in members],
        [member.trained for member in members],
        program,
        [HParams.from_fields(grid.fields(member.config)) for member in members],
        dataset,
        _images(dataset, request, group.seed),
        leave_out,
    )


def _images(dataset: Dataset, request: Request, seed: int) -> Images:
    split = "test" if request.data else request.split
    images: Images = dataset.training(seed) if split == "train" else getattr(dataset, split)
    return images


def _column(table: str, name: str, subject: Subject) -> schema.Column:
    """Return the column of a measure: as the evaluator described it, with the table's name."""
    if name not in subject.columns:
        subject.describe(name)
    known = subject.columns[name]
    return dataclasses.replace(known, name=f"{table}/{name}", label=f"{known.label}, {table}")
