"""Evaluate finished runs again, by the networks that they keep.

  python -m experiments.evaluate --workdir=runs/digits --split=test --metrics=calibration_error
  python -m experiments.evaluate --workdir=runs/digits --evaluator=bfloat16
  python -m experiments.evaluate --workdir=runs/digits --evaluator=bottlenecks
  python -m experiments.evaluate --workdir=runs/digits --evaluator=precision
  python -m experiments.evaluate --workdir=runs/cifar10 --data=cifar10_1 --split=test
  python -m experiments.evaluate --workdir=runs/folder_photos --data=new_photos/ --split=all
  python -m experiments.evaluate --pretrained=WEIGHTS --data=imagenet/ --evaluator=precision

It writes a side table, WORKDIR/evaluations/NAME.csv, with a row per run. Its columns, such as
NAME/accuracy, are measures for experiments.plot (--metric=NAME/accuracy), for claims
(metric="NAME/accuracy") and for the report, which the experiment's command then draws again.
The evaluator bottlenecks measures what projections keep of their input: active and dead channels,
effective ranks, decodability. The evaluator precision measures drops of accuracy where kernels and
activations have few bits, and their ranges. WORKDIR/blocks/NAME.csv has numbers for each block.

With --pretrained one network is measured: the network.safetensors of a run, or ImageNet weights of
Keras, torchvision, timm or transformers, whose images lie in folders n01440764 to n15075141. Ranges
of activations are taken from the data set's training images; the table is written if there is a
--workdir.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags

from experiments import command_line
from mnv2_jax.ablation import evaluators
from mnv2_jax.api import Results, evaluate
from mnv2_jax.nn import pieces
from mnv2_jax.terminal import outlive, say
from mnv2_jax.train import setup

_PRETRAINED = flags.DEFINE_string(
    "pretrained", None, "Weights to evaluate instead of runs; with --data."
)
flags.DEFINE_string("workdir", None, "The folder of an experiment, which may be gs:// or s3://.")
_SPLIT = flags.DEFINE_string(
    "split",
    "",
    "train, validation or test; with --data a split as TFDS writes it. Default: test; of "
    "bottlenecks, validation.",
)
_DATA = flags.DEFINE_string(
    "data",
    "",
    "Another data set with the same classes, or a folder of images (DIR/). Default: the runs' own.",
)
_EVALUATOR = flags.DEFINE_string(
    "evaluator",
    "metrics",
    f"One of {', '.join(evaluators.EVALUATORS)}, or FILE.py:FUNCTION.",
)
_METRICS = flags.DEFINE_string(
    "metrics", "", "Metrics beside those of the runs, separated by commas."
)
_PIECES = flags.DEFINE_string(
    "pieces",
    pieces.WHOLE,
    "Compute blocks piece by piece, in less memory: channels:N, channels:t (as many groups as the "
    "expansion) or patches:N (N x N).",
)
_NAME = flags.DEFINE_string(
    "name", "", "Name of the side table. Default: from data or split, evaluator and pieces."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "The folder of prepared data sets. Default: in the user's cache folder."
)
_ON_CORRUPT = flags.DEFINE_enum(
    "on_corrupt",
    "fail",
    ["fail", "skip"],
    "Stop at images that cannot be decoded, or leave them out and say so.",
)


def main() -> int:
    """Evaluate the runs, and print the side table's path and means.

    Raises:
      ValueError: a flag is wrong, or no run keeps its network.
      OSError: a network or a data set cannot be read, or the table not written.
    """
    setup.begin()
    outlive("stdout")
    request: dict[str, Any] = {
        "split": _SPLIT.value,
        "data": _DATA.value,
        "evaluator": _EVALUATOR.value,
        "metrics": _METRICS.value,
        "name": _NAME.value,
        "pieces": _PIECES.value,
        "data_dir": _DATA_DIR.value,
        "on_corrupt": _ON_CORRUPT.value,
        "say": say,
    }
    if _PRETRAINED.value is not None:
        where = flags.FLAGS.workdir
        if where and "://" in where:
            raise ValueError(f"--workdir={where}: expected a local folder beside --pretrained")
        row = evaluate(_PRETRAINED.value, workdir=where, **request)
        for name, column in row.attrs["columns"].items():
            say(f"{name}: {column.text(float(row[name].item()))}")
        if where:
            _say_files(Path(where), row)
        return 0
    results = Results.open(
        command_line.required("workdir", "the folder of an experiment, such as runs/digits")
    )
    table = results.evaluate(**request)
    for name in table.columns:
        mean = results.column(name).text(float(table[name].mean()))
        say(f"{name}: mean {mean} over {len(table)} runs")
    _say_files(results.path, table)
    return 0


def _say_files(folder: Path, table: pd.DataFrame) -> None:
    name = str(table.columns[0]).partition("/")[0]
    say(f"Table: {folder}/evaluations/{name}.csv")
    if (of_blocks := folder / "blocks" / f"{name}.csv").is_file():
        say(f"Blocks: {of_blocks}")


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
