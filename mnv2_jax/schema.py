"""Every file and every column of a workdir, once: writers and readers share it."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from mnv2_jax import checksums
from mnv2_jax.metrics import DEFAULT, METRICS, SPLITS, Metric

PHASE = "transfer.phase"
"""The config field, and the column, that says which phase of a transfer a run is."""

PRETRAINING = "pretraining"
"""The phase whose runs learn, and are tested on, other classes than those of the others."""

SECTIONS = (PRETRAINING, "scratch", "extraction")
"""The sections of a config that hold what phases set otherwise."""

FINISHED = ("done", "diverged")
"""The statuses of runs that are not run again."""

STATUSES = (*FINISHED, "failed")
"""The statuses of runs in results.csv."""

RECORD = ("config.json", "metrics.jsonl", "environment.json", "result.json")
"""The files of a run's record. One without the last is not whole; it holds the checksums of the
others."""

NETWORK = "network.safetensors"
"""The trained network of a run, beside its record, where the experiment keeps them."""

RESULTS, COLUMNS = "results.csv", "columns.json"


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a workdir.

    Attributes:
      path: from the workdir; each * stands for a name.
      what: what it holds.
      since: the version that has it first.
      in_buckets: of a workdir in a bucket, whether the file is there too; "written" ones are never
        read from it.
      tidied: whether what is no regular file in its place is put aside before training.
    """

    path: str
    what: str
    since: str = "0.1"
    in_buckets: Literal["", "written", "shared"] = "shared"
    tidied: bool = True


FILES = (
    File("plan.json", "what there is to train: name, command, runs by cohort", "0.2"),
    File("stated.json", "when each claim was stated first, and after how many runs", "0.2"),
    File(COLUMNS, "what the columns are that this version does not know", "0.2"),
    File(RESULTS, "one row per run: what it is, and what was measured"),
    File(f"{RESULTS}{checksums.BESIDE}", "the checksum of results.csv", "0.2"),
    File("claims.json", "what the claims came to"),
    File(NETWORK, "a trained network, where the folder is that of one run", "0.2", tidied=False),
    File("evaluations/*.json", "what a side table's columns are, and what measured them", "0.2"),
    File("evaluations/*.csv", "a side table: measures of finished runs, by run id", "0.2"),
    File(f"evaluations/*.csv{checksums.BESIDE}", "the checksum of a side table", "0.2"),
    File("failures/*.json", "why a run failed the last time", "0.2"),
    File("training/*.json", "signs of life of what is in training", "0.2", tidied=False),
    File("runs/*/config.json", "every field of the config of a run", tidied=False),
    File("runs/*/metrics.jsonl", "metrics of a run by epoch", tidied=False),
    File("runs/*/environment.json", "where and with what a run was trained", tidied=False),
    File(f"runs/*/{NETWORK}", "the trained network of a run, if it is kept", "0.2", tidied=False),
    File("runs/*/result.json", "the row of a run, checksums of its record", tidied=False),
    File("checkpoints/*/pack.json", "the runs that a checkpoint is of", "0.2", in_buckets=""),
    File("tensorboard/*/events.*", "curves for TensorBoard", "0.2", in_buckets="", tidied=False),
    File("figures/*", "figures as SVG and PNG", in_buckets="written"),
    File("report.html", "the report", in_buckets="written"),
    File("report.json", "checksums of the report and of its sources", "0.2", in_buckets=""),
)
"""The files, in the order in which they come to a bucket: a result after the rest of its record, a
report after what it shows."""

FOLDERS = tuple(dict.fromkeys(file.path.partition("/")[0] for file in FILES if "/" in file.path))


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of results.csv, or of metrics.jsonl.

    Attributes:
      name: of the column.
      type: of its cells.
      kind: "identity" tells runs apart that are the same but for chance; an "axis" says what a run
        is; a "cost" is one of its network; a "measure" is what came out; a "note" is neither
        compared nor drawn.
      label: what figures and the report call it.
      unit: "%" of what is stored as a fraction of 1 and shown in per cent; else as shown.
      digits: after the decimal point where it is shown.
      better: which way is better, of a measure.
      since: the version that has it first.
      field: the path of the config field that it holds.
      short: what it is called beside its values.
      required: whether every results.csv has it.
      of_machine: whether it depends on where a run was trained, and in what company.
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
)
_AFTER = (
    Column("restored_epoch", "whole", "note", "Restored epoch", since="0.2"),
    Column("seconds", "number", "measure", "Training time", "s", 1, "lower", of_machine=True),
    Column("lanes", "whole", "note", "Lanes", of_machine=True),
    Column("device", "text", "note", "Device", of_machine=True),
    Column("error", "text", "note", "Error"),
)

KNOWN: Mapping[str, Column] = {
    column.name: column for column in (*_BEFORE, *of_metrics(METRICS.values()), *_AFTER)
}
"""The columns of results.csv by name, in their order. After them comes a column for each other
field in which runs differ, named by its path, such as `train.learning_rate`. `seconds` are the
run's share of its cohort's training time; `restored_epoch` as in
`mnv2_jax.train.results.LaneResult`."""

CURVES: Mapping[str, Column] = {
    column.name: column
    for column in (
        Column("epoch", "whole", "identity", "Epoch"),
        *(of_metric(METRICS[name], "train") for name in ("loss", "accuracy")),
        *(of_metric(metric, "validation") for metric in METRICS.values()),
        Column("learning_rate", "number", "note", "Learning rate"),
    )
}
"""The columns of metrics.jsonl by name. A metric of the user's own has another one."""

_OPTIONAL = {
    metric.column(split)
    for metric in METRICS.values()
    if metric.name not in DEFAULT
    for split in SPLITS
}
_BY_FIELD = {column.field: column.name for column in KNOWN.values() if column.field}
_DESCRIBED = ("kind", "label", "unit", "digits", "better")


def column(name: str, described: Mapping[str, Column] | None = None) -> Column:
    """Return what a column of results.csv is.

    Args:
      name: of the column. What nothing describes is a measure if it has the form of a metric's
        column, and else an axis.
      described: of columns.json.
    """
    known = KNOWN.get(name) or (described or {}).get(name)
    if known:
        return known
    table, slash, measure = name.partition("/")
    if slash:  # Of a side table; see `mnv2_jax.side_tables`.
        label = f"{measure.replace('_', ' ')}, {table}"
        return Column(name, "number", "measure", label[:1].upper() + label[1:], digits=3)
    split, _, metric = name.partition("_")
    if split in SPLITS and metric and "." not in name:
        label = f"{_SPLITS[split]} {metric.replace('_', ' ')}"
        return Column(name, "number", "measure", label, digits=3, since="0.2")
    plain = name.rpartition(".")[2].replace("_", " ")
    return Column(name, "text", "axis", plain[:1].upper() + plain[1:], field=name)


def in_order(present: Iterable[str]) -> list[str]:
    """Return the columns of a results.csv: those that each has, and others that are present."""
    others = dict.fromkeys(present)
    known = [name for name in KNOWN if name not in _OPTIONAL or name in others]
    return [*known, *(name for name in others if name not in KNOWN)]


def named_by_path(field: str) -> str:
    """Return the column of a field of the config, by the field's path."""
    return _BY_FIELD.get(field, field)


def write_columns(workdir: Path, columns: Iterable[Column]) -> None:
    """Write columns.json, which describes columns that are not in `KNOWN`; none removes it.

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
    """Return what columns are, by name, as JSON values; see `columns_of`."""
    return {
        one.name: {
            key: getattr(one, key)
            for key in (_DESCRIBED if one.kind == "measure" else _DESCRIBED[:2])
        }
        for one in columns
    }


def read_columns(workdir: Path) -> dict[str, Column]:
    """Read what `write_columns` wrote, by name; nothing where there is no such file.

    Raises:
      DamagedError: it is damaged.
    """
    path = workdir / COLUMNS
    try:
        found = checksums.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return columns_of(path, found)


def columns_of(path: Path, found: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns that a JSON file describes under "columns", by name.

    Args:
      path: of the file, for errors.
      found: what it holds.

    Raises:
      DamagedError: it is not what `described` returned.
    """
    entries = found.get("columns")
    if not isinstance(entries, dict):
        raise checksums.damaged(path, "expected what each column is under 'columns'")
    return {name: _described(path, name, entry) for name, entry in entries.items()}


def _described(path: Path, name: str, entry: Any) -> Column:
    allowed = {"kind": ("axis", "measure", "note"), "better": ("higher", "lower")}
    if not isinstance(entry, dict):
        raise checksums.damaged(path, f"{name}: expected {', '.join(_DESCRIBED)}")
    given = {key: entry[key] for key in _DESCRIBED if key in entry}
    for key, value in given.items():
        right = value in allowed[key] if key in allowed else isinstance(value, str)
        if key == "digits":
            right = isinstance(value, int) and 0 <= value <= 9
        if not right:
            expected = ", ".join(allowed.get(key, ("a text" if key != "digits" else "0 to 9",)))
            raise checksums.damaged(path, f"{name}: {key} {value!r}; expected {expected}")
    if "kind" not in given:
        raise checksums.damaged(path, f"{name}: expected its kind: {', '.join(allowed['kind'])}")
    of_numbers = given["kind"] == "measure"
    given.setdefault("label", column(name).label)
    return Column(name, "number" if of_numbers else "text", since="", **given)
