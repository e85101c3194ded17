"""Evaluate finished runs again, by the networks that they keep.

  python -m experiments.evaluate --workdir=runs/digits --split=test --metrics=calibration_error
  python -m experiments.evaluate --workdir=runs/digits --evaluator=bfloat16
  python -m experiments.evaluate --workdir=runs/digits --evaluator=bottlenecks
  python -m experiments.evaluate --workdir=runs/cifar10 --data=cifar10_1 --split=test
  python -m experiments.evaluate --workdir=runs/folder_photos --data=new_photos/ --split=all

It writes a side table, WORKDIR/evaluations/NAME.csv, with a row per run. Its columns, such as
NAME/accuracy, are measures for experiments.plot (--metric=NAME/accuracy), for claims
(metric="NAME/accuracy") and for the report, which the experiment's command then draws again.
The evaluator bottlenecks measures what projections keep of their input: active and dead channels,
effective ranks, decodability; WORKDIR/blocks/NAME.csv has its numbers for each block of each run.
"""

from absl import flags

from experiments import command_line
from mnv2_jax.ablation import evaluators
from mnv2_jax.api.results import Results
from mnv2_jax.nn import pieces
from mnv2_jax.terminal import outlive, say
from mnv2_jax.train import setup

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
    where = command_line.required("workdir", "the folder of an experiment, such as runs/digits")
    setup.begin()
    outlive("stdout")
    results = Results.open(where)
    table = results.evaluate(
        split=_SPLIT.value,
        data=_DATA.value,
        evaluator=_EVALUATOR.value,
        metrics=_METRICS.value,
        name=_NAME.value,
        pieces=_PIECES.value,
        data_dir=_DATA_DIR.value,
        on_corrupt=_ON_CORRUPT.value,
        say=say,
    )
    for name in table.columns:
        mean = results.column(name).text(float(table[name].mean()))
        say(f"{name}: mean {mean} over {len(table)} runs")
    name = str(table.columns[0]).partition("/")[0]
    say(f"Table: {results.path}/evaluations/{name}.csv")
    if (of_blocks := results.path / "blocks" / f"{name}.csv").is_file():
        say(f"Blocks: {of_blocks}")
    return 0


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
