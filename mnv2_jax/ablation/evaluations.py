"""Evaluates the networks that finished runs keep, and writes side tables."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mnv2_jax import checksums, metrics, schema, side_tables
from mnv2_jax.ablation import (
    cohort,
    evaluators,
    finished,
    grid,
    ids,
    measured,
    networks,
    records,
    resolve,
)
from mnv2_jax.ablation.job import DataOptions
from mnv2_jax.ablation.measured import Measured
from mnv2_jax.ablation.subject import Subject
from mnv2_jax.arch import NetworkSpec, check_choice
from mnv2_jax.data import folders, splits
from mnv2_jax.data.images import Images
from mnv2_jax.data.sources import Dataset, Selection
from mnv2_jax.metrics import SPLITS, Metric
from mnv2_jax.nn import pieces as in_pieces
from mnv2_jax.nn import trained
from mnv2_jax.nn.blocks.base import Knobs
from mnv2_jax.nn.trained import Trained
from mnv2_jax.side_tables import SideTable
from mnv2_jax.train import environment
from mnv2_jax.train.hparams import HParams
from mnv2_jax.train.recipe import Recipe
from mnv2_jax.train.step import LaneProgram


@dataclasses.dataclass(frozen=True)
class Request:
    """A request to measure finished runs.

    Attributes:
      split: train, validation or test; of another data set, a split in TFDS's notation. By default
        the evaluator's; see `mnv2_jax.ablation.evaluators.SPLITS`.
      data: another data set of the same classes, or the path of a folder of images; "" evaluates
        each run on its own data set.
      evaluator: a name of `mnv2_jax.ablation.evaluators`, or `FILE.py:FUNCTION`.
      metrics: additional metrics, separated by commas.
      name: name of the side table; by default made of data or split, evaluator and pieces.
      pieces: compute blocks piece by piece: a text of `mnv2_jax.nn.pieces`, such as "channels:3".

    Raises:
      ValueError: a value is wrong; the message names it and the expected values.
    """

    split: str = ""
    data: str = ""
    evaluator: str = "metrics"
    metrics: str = ""
    name: str = ""
    pieces: str = in_pieces.WHOLE

    def __post_init__(self) -> None:
        if not self.split:
            default = "test" if self.data else evaluators.SPLITS.get(self.evaluator, "test")
            object.__setattr__(self, "split", default)
        if not self.data:
            check_choice("split", self.split, SPLITS)
        evaluators.find(self.evaluator)
        if in_pieces.parse(self.pieces) and self.evaluator in evaluators.LOOK_INSIDE:
            raise ValueError(
                f"pieces={self.pieces!r}: expected {in_pieces.WHOLE} with evaluator "
                f"{self.evaluator!r}, which reads whole tensors"
            )
        if self.name and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"name={self.name!r}: expected letters, digits and any of _-.")

    @property
    def table(self) -> str:
        """The name of the side table."""
        function = self.evaluator.rpartition(":")[2]
        data = folders.own_name(self.data).rstrip("/")
        parts = [data or self.split, *([function] if function != "metrics" else [])]
        if pieces := in_pieces.parse(self.pieces):
            parts.append(pieces.name)
        return self.name or re.sub(r"[^\w.-]+", "_", "_".join(parts))


class _Network(NamedTuple):
    """A run with its network."""

    run: str
    config: ConfigDict
    trained: Trained


class _Group(NamedTuple):
    """Properties shared by networks that one program measures together."""

    spec: NetworkSpec
    scaling: str
    compute_dtype: str
    batch_size: int
    metrics: tuple[Metric, ...]
    selection: Selection
    split_seed: int | None
    seed: int


def evaluate(
    workdir: Path,
    request: Request,
    options: DataOptions,
    say: Callable[[str], None] = lambda line: None,
) -> SideTable:
    """Measure the networks that runs of an experiment keep, and write a side table.

    Raises:
      ValueError: no run keeps its network, the data set has other classes, or an image cannot be
        decoded.
      OSError: a network or a data set cannot be read, or the table cannot be written.
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
    name = request.table
    table = SideTable(name, {}, {}, about(request), {}, {}, {}, {})
    problems: set[str] = set()
    # Of another data set, train, validation and test are the same split.
    load = functools.cache(
        functools.partial(options.open, overlapping=bool(request.data), tell=say)
    )
    say_once = functools.cache(say)  # Groups may have the same to say.
    done = 0
    for group, members in groups.items():
        subject = _subject(group, members, request, load, problems.update, say_once)
        found = measured.measure(request.evaluator, subject)
        if request.data or request.split != "train":
            drawn = "" if group.split_seed is None else f"drawn by seed {group.split_seed}"
            found = found._replace(predictions=measured.predictions(subject, found, drawn))
        table = with_measures(table, found, subject)
        done += len(members)
        say(f"evaluated {done} of {count} networks")
    for line in sorted(problems):
        say(f"left out: {line}")
    table = table._replace(records={run: side_tables.record_of(workdir, run) for run in table.rows})
    side_tables.write(workdir, table)
    return table


def about(request: Request) -> dict[str, Any]:
    """Return the description of a measurement in its side table."""
    return {
        **dataclasses.asdict(request),
        "device": environment.device_name(jax.devices()),
        **environment.checkout(),
    }


def with_measures(table: SideTable, found: Measured, subject: Subject) -> SideTable:
    """Return a side table with the measures of a subject's networks too."""
    runs, prefix = subject.runs, table.name
    names = dict.fromkeys(name for measures in found.measures for name in measures)
    rows = {
        run: {f"{prefix}/{name}": value for name, value in measures.items()}
        for run, measures in zip(runs, found.measures, strict=True)
    }
    return table._replace(
        columns={
            **table.columns,
            **{f"{prefix}/{name}": _column(prefix, name, subject) for name in names},
        },
        rows={**table.rows, **rows},
        predictions={**table.predictions, **found.predictions},
        blocks={**table.blocks, **dict(zip(runs, found.blocks, strict=False))},
        block_columns={**table.block_columns, **found.block_columns},
    )


def _check_name(workdir: Path, request: Request) -> None:
    """Refuse the name of a side table of another measurement: claims may refer to it."""
    whole, _ = side_tables.read_whole(workdir)  # A damaged one is written anew.
    tables = [table for table in whole if table.name == request.table]
    absent = {"pieces": in_pieces.WHOLE}  # From tables of earlier versions.
    for field in ("split", "data", "evaluator", "pieces"):
        for table in tables:
            earlier = table.about.get(field, absent.get(field))
            if earlier != getattr(request, field):
                raise ValueError(
                    f"name={request.table!r}: the side table of that name is of "
                    f"{field}={earlier!r}; expected another name, or its files in "
                    f"{side_tables.FOLDER}/ removed"
                )


def _networks(workdir: Path) -> Iterator[_Network]:
    """Yield the finished runs that keep their networks, in the order of their ids."""
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
    """Check that a network's code is that which trained it, if jax has the same version."""
    recorded = records.read_environment(workdir, network.run)
    if finished.by_other_code(recorded, cohort.network_fingerprint(network.trained.spec)):
        model = network.config.model
        raise ValueError(
            f"workdir={workdir}: run {network.run} was trained by other code of block "
            f"{model.block!r} or projection {model.projection!r}; expected that code"
        )


def _group(network: _Network, request: Request) -> _Group:
    config, net = network.config, network.trained
    selection = resolve.data_selection(config)
    if request.data:
        split = request.split
        selection = dataclasses.replace(
            selection, name=request.data, train=split, validation=split, test=split
        )
    # With few images per class, each seed trains on images of its own.
    drawn = request.split == "train" and not request.data and selection.images_per_class > 0
    names = [*metrics.names(config.metrics), *metrics.names(request.metrics)]
    slopes = Knobs.of_blocks(net.spec.blocks).slope
    return _Group(
        cohort.without_lane_values(net.spec, slopes=bool(np.any(slopes))),
        net.scaling,
        config.train.compute_dtype,
        config.train.evaluation_batch_size,
        metrics.choose(names, len(net.class_names)),
        selection if drawn else dataclasses.replace(selection, images_per_class=0),
        None if request.data else resolve.split_seed(config),
        int(config.seed) if drawn else 0,
    )


def _subject(
    group: _Group,
    members: Sequence[_Network],
    request: Request,
    load: Callable[[Selection], Dataset],
    leave_out: Callable[[Any], None],
    say: Callable[[str], None],
) -> Subject:
    dataset = splits.redrawn(load(group.selection), group.split_seed)
    names = members[0].trained.class_names
    if dataset.class_names != names:
        raise ValueError(
            f"data={group.selection.name}: classes {', '.join(dataset.class_names[:5])}, ...; "
            f"expected those of the networks, {', '.join(names[:5])}, ..."
        )
    batch = group.batch_size
    recipe = Recipe(1, batch, batch, compute_dtype=group.compute_dtype)
    program = LaneProgram(
        group.spec,
        recipe,
        1,
        scaling=group.scaling,
        metrics=group.metrics,
        pieces=in_pieces.parse(request.pieces),
    )
    return Subject(
        [member.run for member in members],
        [member.trained for member in members],
        program,
        [
            HParams.from_fields(
                grid.fields(member.config), Knobs.of_blocks(member.trained.spec.blocks)
            )
            for member in members
        ],
        dataset,
        _images(dataset, request, group.seed),
        functools.partial(_training, members[0].config, load),
        leave_out,
        say,
    )


def _images(dataset: Dataset, request: Request, seed: int) -> Images:
    split = "test" if request.data else request.split
    images: Images = dataset.training(seed) if split == "train" else getattr(dataset, split)
    return images


def _training(config: ConfigDict, load: Callable[[Selection], Dataset]) -> Images:
    """Open the training split of the data set of a run."""
    selection = dataclasses.replace(resolve.data_selection(config), images_per_class=0)
    return splits.redrawn(load(selection), resolve.split_seed(config)).train


def _column(table: str, name: str, subject: Subject) -> schema.Column:
    """Return the column of a measure: the evaluator's description, with the table's name."""
    if name not in subject.columns:
        subject.describe(name)
    column = subject.columns[name]
    return dataclasses.replace(column, name=f"{table}/{name}", label=f"{column.label}, {table}")
