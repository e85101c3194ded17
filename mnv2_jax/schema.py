"""The files and columns of a workdir, shared by writers and readers."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from mnv2_jax import checksums
from mnv2_jax.metrics import DEFAULT, METRICS, SPLITS, Metric

PHASE = "transfer.phase"
"""The config field, and the column, that holds the phase of a transfer."""

PRETRAINING = "pretraining"
"""The phase whose runs are trained and tested on other classes."""

SECTIONS = (PRETRAINING, "scratch", "extraction")
"""The sections of a config that hold the settings of a phase."""

FINISHED = ("done", "diverged")
"""The statuses of runs that are not run again."""

STATUSES = (*FINISHED, "failed")
"""The statuses of runs in results.csv."""

RECORD = ("config.json", "metrics.jsonl", "environment.json", "result.json")
"""The files of a run's record. The last holds the checksums of the others; a record without it is
incomplete."""

SUMS = "files"
"""The entry of the last file of a record that holds the checksums of the others."""

NETWORK = "network.safetensors"
"""The trained network of a run, beside its record, where the experiment keeps networks."""

PREDICTIONS = "test.npz"
"""The predictions of a run for each test image, beside its record, where test images were read;
earlier versions lack it."""

MISTAKEN = "mistaken.json"
"""Small pictures of test images that are mistaken, for the report."""

BESIDE_RECORDS = (PREDICTIONS, NETWORK)
"""Files that a record may have or lack."""

RESULTS, COLUMNS = "results.csv", "columns.json"


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a workdir.

    Attributes:
      path: from the workdir; each * stands for a name.
      what: its contents, as the reference describes them.
      since: the first version that has it.
      in_buckets: "shared" with a workdir in a bucket, only "written" to it, or "" for neither.
      tidied: whether anything but a regular file in its place is put aside before training.
    """

    path: str
    what: str
    since: str = "0.1"
    in_buckets: Literal["", "written", "shared"] = "shared"
    tidied: bool = True


FILES = (
    File("plan.json", "the runs to train, by cohort; the experiment's name, title, command", "0.2"),
    File(
        "stated.json",
        "when each claim was first stated, after how many runs, and how seeds stop",
        "0.2",
    ),
    File(COLUMNS, "descriptions of columns that this version does not define", "0.2"),
    File(RESULTS, "one row per run: its axes, costs and measures"),
    File(f"{RESULTS}{checksums.BESIDE}", "the checksum of results.csv", "0.2"),
    File("claims.json", "the decided claims"),
    File(
        PREDICTIONS,
        "predictions of all runs, where results are kept without their folders",
        "0.3",
        in_buckets="",
    ),
    File(NETWORK, "a trained network, if the folder is that of one run", "0.2", tidied=False),
    File("blocks/*.csv", "measures of blocks, by run and block, beside a side table", "0.3"),
    File(f"blocks/*.csv{checksums.BESIDE}", "the checksum of measures of blocks", "0.3"),
    File("evaluations/*.json", "a side table's columns, and how they were measured", "0.2"),
    File("evaluations/*.csv", "a side table: measures of finished runs, by run id", "0.2"),
    File(f"evaluations/*.csv{checksums.BESIDE}", "the checksum of a side table", "0.2"),
    File("evaluations/*.npz", "predictions of a side table's runs for each image", "0.3"),
    File("failures/*.json", "the last error of a run that failed", "0.2"),
    File("training/*.json", "heartbeats of chunks in training", "0.2", tidied=False),
    File("runs/*/config.json", "every field of the config of a run", tidied=False),
    File("runs/*/metrics.jsonl", "metrics of a run by epoch", tidied=False),
    File("runs/*/environment.json", "versions, commit and device that trained a run", tidied=False),
    File(f"runs/*/{NETWORK}", "the trained network of a run, if it is kept", "0.2", tidied=False),
    File(
        f"runs/*/{PREDICTIONS}",
        "label, prediction and loss of each test image, as NumPy reads it",
        "0.3",
        tidied=False,
    ),
    File("runs/*/result.json", "the row of a run, and checksums of its record", tidied=False),
    File("checkpoints/*/pack.json", "the runs of a checkpoint", "0.2", in_buckets=""),
    File("tensorboard/*/events.*", "curves for TensorBoard", "0.2", in_buckets="", tidied=False),
    File("figures/*", "figures as SVG and PNG", in_buckets="written"),
    File(MISTAKEN, "small pictures of mistaken test images", "0.3", in_buckets="written"),
    File("report.html", "the report", in_buckets="written"),
    File("report.json", "checksums of the report and of its sources", "0.2", in_buckets=""),
)
"""The files in the order of upload to a bucket: a result after the rest of its record, a report
after its figures."""

FOLDERS = tuple(dict.fromkeys(file.path.partition("/")[0] for file in FILES if "/" in file.path))


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of results.csv, or of metrics.jsonl.

    Attributes:
      kind: an "identity" tells apart runs of one configuration; an "axis" is part of the
        configuration; a "cost" is of the network; a "measure" is an outcome; a "note" is neither
        compared nor drawn.
      label: its name in figures and the report.
      unit: as shown; "%" means that it is stored as a fraction of 1.
      digits: shown after the decimal point.
      since: the first version that has it.
      field: the path of the config field that it holds.
      short: its name beside its values.
      required: whether every results.csv has it.
      of_machine: whether it depends on the machine, or on the lanes trained together.
    """

    name: str
    type: Literal["text", "whole", "number", "truth"]
    kind: Literal["identity", "axis", "cost", "measure", "note"]
    label: str = ""
    unit: str = ""
    digits: int = 0
    better: Literal["higher", "lower"] = "higher"
    since: str = "0.1"
    field: str = ""
    short: str = ""
    required: bool = False
    of_machine: bool = False

    @property
    def scale(self) -> float:
        """The factor that brings stored values into `unit`."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def title(self) -> str:
        """The label with its unit, as an axis has it."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def text(self, value: float) -> str:
        """Return a stored value as shown, with its unit."""
        return f"{self.scale * value:,.{self.digits}f}{f' {self.unit}' if self.unit else ''}"


_SPLITS = {"train": "Training", "validation": "Validation", "test": "Test"}
_YOUNGER = ("train_loss", "validation_loss")


def of_metric(metric: Metric, split: str) -> Column:
    """Return the column of a metric of a split."""
    name = metric.column(split)
    old = metric.name in ("accuracy", "loss") and name not in _YOUNGER
    return Column(
        name,
        "number",
        "measure",
        f"{_SPLITS[split]} {metric.label}",
        metric.unit,
        metric.digits,
        metric.better,
        "0.1" if old else "0.2",
    )


def of_metrics(metrics: Iterable[Metric]) -> list[Column]:
    """Return the columns of results.csv that hold metrics, of every split."""
    return [of_metric(metric, split) for metric in metrics for split in SPLITS]


def _axis(name: str, kind: Literal["text", "number"], field: str, label: str, short: str) -> Column:
    return Column(name, kind, "axis", label, field=field, short=short)


_BEFORE = (
    Column("run_id", "text", "identity", "Run", required=True),
    Column("status", "text", "identity", "Status", required=True),
    _axis("dataset", "text", "data.name", "Data set", ""),
    _axis("block", "text", "model.block", "Block", ""),
    _axis("projection", "text", "model.projection", "Projection", ""),
    _axis("shortcut", "text", "model.shortcut", "Shortcut", ""),
    _axis("expansion", "number", "model.expansion", "Expansion t", "Expansion"),
    _axis("width", "number", "model.width", "Width multiplier", "Width"),
    Column("seed", "whole", "identity", "Seed", field="seed", required=True),
    Column("epochs", "whole", "axis", "Epochs", field="train.epochs"),
    Column("params", "whole", "cost", "Parameters"),
    Column("madds", "whole", "cost", "Multiply-adds per image", short="MAdds"),
    Column("classes", "whole", "note", "Classes", since="0.3"),
    Column("bottlenecks", "text", "note", "Channels after each block", since="0.3"),
)
_AFTER = (
    *(
        Column(f"{split}_images", "whole", "note", f"{_SPLITS[split]} images", since="0.3")
        for split in SPLITS
    ),
    Column("restored_epoch", "whole", "note", "Restored epoch", since="0.2"),
    Column("seconds", "number", "measure", "Training time", "s", 1, "lower", of_machine=True),
    Column("lanes", "whole", "note", "Lanes", of_machine=True),
    Column("device", "text", "note", "Device", of_machine=True),
    Column("error", "text", "note", "Error"),
)

KNOWN: Mapping[str, Column] = {
    column.name: column for column in (*_BEFORE, *of_metrics(METRICS.values()), *_AFTER)
}
"""The columns of results.csv by name, in their order. A column follows for each other field in
which runs differ, named by its path, such as `train.learning_rate`. `seconds` are the run's share
of its cohort's training time; `restored_epoch` is that of `mnv2_jax.train.results.LaneResult`."""

DIVERGED = Column("diverged", "number", "measure", "Diverged", "%", 1, "lower", since="0.3")
"""The share of runs that diverged, which claims may be about; it follows from the status."""

RUNNING = "running_"

CURVES: Mapping[str, Column] = {
    column.name: column
    for column in (
        Column("epoch", "whole", "identity", "Epoch"),
        *(
            dataclasses.replace(
                of_metric(METRICS[name], "train"),
                name=RUNNING + name,
                label=f"Running training {METRICS[name].label}",
                since="0.3",
            )
            for name in ("loss", "accuracy")
        ),
        *(of_metric(metric, split) for split in SPLITS[:2] for metric in METRICS.values()),
        Column("learning_rate", "number", "note", "Learning rate"),
    )
}
"""The columns of metrics.jsonl by name; a user's metric adds others.

`running_*` are means over an epoch's batches while weights change, with batch statistics, augmented
images and dropout. `train_*` and `validation_*` are of the weights after the epoch, in inference
mode; `train_*` of as many training images as there are for validation.
"""

_OPTIONAL = {
    metric.column(split)
    for metric in METRICS.values()
    if metric.name not in DEFAULT
    for split in SPLITS
}
_BY_FIELD = {column.field: column.name for column in KNOWN.values() if column.field}
_DESCRIBED = ("kind", "label", "unit", "digits", "better")
_CHOICES = {"kind": ("axis", "measure", "note"), "better": ("higher", "lower")}


def column(name: str, described: Mapping[str, Column] | None = None) -> Column:
    """Return the column of results.csv of this name.

    A column that is neither in `KNOWN` nor in `described`, which columns.json holds, is a measure
    if its name has the form of a metric's column or of a side table's, and else an axis.
    """
    known = KNOWN.get(name) or (described or {}).get(name)
    if name == DIVERGED.name:
        return known or DIVERGED
    if known:
        return known
    table, slash, measure = name.partition("/")
    if slash:  # A side table's; see `mnv2_jax.side_tables`.
        label = f"{measure.replace('_', ' ')}, {table}"
        return Column(name, "number", "measure", label[:1].upper() + label[1:], digits=3)
    split, _, metric = name.partition("_")
    if split in SPLITS and metric and "." not in name:
        label = f"{_SPLITS[split]} {metric.replace('_', ' ')}"
        return Column(name, "number", "measure", label, digits=3, since="0.2")
    plain = name.rpartition(".")[2].replace("_", " ")
    return Column(name, "text", "axis", plain[:1].upper() + plain[1:], field=name)


def in_order(present: Iterable[str]) -> list[str]:
    """Return the columns of a results.csv in order: those that each has, and the others present."""
    names = dict.fromkeys(present)
    known = [name for name in KNOWN if name not in _OPTIONAL or name in names]
    return [*known, *(name for name in names if name not in KNOWN)]


def named_by_path(field: str) -> str:
    """Return the column that holds a field of the config, given by its path."""
    return _BY_FIELD.get(field, field)


def write_columns(workdir: Path, columns: Iterable[Column]) -> None:
    """Write columns.json, which describes columns that are not in `KNOWN`; without any, remove it.

    Raises:
      OSError: the folder cannot be written to.
    """
    path = workdir / COLUMNS
    entries = described(columns)
    if entries:
        checksums.write_json(path, {"columns": entries}, indent=2)
    else:
        path.unlink(missing_ok=True)


def described(columns: Iterable[Column]) -> dict[str, dict[str, Any]]:
    """Return descriptions of columns, by name, as JSON values; `columns_of` reads them."""
    return {
        column.name: {
            key: getattr(column, key)
            for key in (_DESCRIBED if column.kind == "measure" else _DESCRIBED[:2])
        }
        for column in columns
    }


def read_columns(workdir: Path) -> dict[str, Column]:
    """Read columns.json; return the columns by name, none if there is no such file.

    Raises:
      DamagedError: it is damaged.
    """
    path = workdir / COLUMNS
    try:
        content = checksums.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return columns_of(path, content)


def columns_of(path: Path, content: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns that a JSON file, read from `path`, describes under "columns", by name.

    Raises:
      DamagedError: it is not what `described` returned.
    """
    entries = content.get("columns")
    if not isinstance(entries, dict):
        raise checksums.damaged(path, "expected what each column is under 'columns'")
    return {name: _column_of(path, name, entry) for name, entry in entries.items()}


def _column_of(path: Path, name: str, entry: Any) -> Column:
    if not isinstance(entry, dict):
        raise checksums.damaged(path, f"{name}: expected {', '.join(_DESCRIBED)}")
    fields = {key: entry[key] for key in _DESCRIBED if key in entry}
    for key, value in fields.items():
        if key in _CHOICES:
            valid, expected = value in _CHOICES[key], ", ".join(_CHOICES[key])
        elif key == "digits":
            valid, expected = isinstance(value, int) and 0 <= value <= 9, "0 to 9"
        else:
            valid, expected = isinstance(value, str), "a text"
        if not valid:
            raise checksums.damaged(path, f"{name}: {key} {value!r}; expected {expected}")
    if "kind" not in fields:
        raise checksums.damaged(path, f"{name}: expected its kind: {', '.join(_CHOICES['kind'])}")
    fields.setdefault("label", column(name).label)
    return Column(name, "number" if fields["kind"] == "measure" else "text", since="", **fields)
