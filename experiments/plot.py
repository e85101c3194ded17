"""Draw a measure over any axis of finished results, over the cost of networks, or over a measure.

  python -m experiments.plot --workdir=runs/digits --x=expansion --hue=projection --panel=shortcut
  python -m experiments.plot --workdir=experiments/results/blocks --x=madds --hue=block
  python -m experiments.plot --workdir=DIR --x=train.learning_rate --metric=validation_accuracy
  python -m experiments.plot --workdir=DIR --x=NAME/MEASURE --hue=projection

An axis is a column of results.csv, by its name or by the field's path in the config; if it does not
vary, there is one line, or one panel. Every seed is a point; lines are means, bands 95 %
t intervals over seeds. A note names the axes that are averaged over. Over params and madds only
seeds are averaged, and the Pareto front of the means is drawn. Over another measure, of results.csv
or of a side table, every run is a point; a note gives Spearman's rank correlation.
"""

from pathlib import Path

from absl import flags

from experiments import command_line
from mnv2_jax.ablation import workdir
from mnv2_jax.ablation.workdir import Workdir
from mnv2_jax.analysis import axes
from mnv2_jax.analysis.charts.chart import SUFFIXES
from mnv2_jax.api import Results
from mnv2_jax.terminal import say

flags.DEFINE_string(
    "workdir", None, "The folder that results.csv is in, which may be gs:// or s3://."
)
_X = flags.DEFINE_string("x", None, "The axis to draw over, or params, madds or a measure.")
_HUE = flags.DEFINE_string(
    "hue", None, "The axis that lines, or colours of points, differ in. Default: one line."
)
_PANEL = flags.DEFINE_list(
    "panel", [], "The axis that panels differ in, or several with commas. Default: one panel."
)
_METRIC = flags.DEFINE_string(
    "metric",
    None,
    "What to draw: a measure that the results have, such as test_loss. Default: test_accuracy, or "
    "validation_accuracy where test images were left unread.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "An .svg or .png file. Default: both, WORKDIR/figures/X_HUE_PANEL.*"
)


def main() -> int:
    """Draw the figure that the flags describe, and print what it wrote.

    Raises:
      ValueError: a flag is wrong, there is nothing to draw, or the file cannot be written.
    """
    where = command_line.required("workdir", "a folder that a sweep wrote")
    with workdir.seen(where, files=()) as here:
        written = _draw(here.path)
        here.sync()
    for path in written:
        say(here.shown(path))
    return 0


def _draw(folder: Path) -> list[Path]:
    """Draw the figure of the results in a folder; return the files that were written."""
    _check(folder)
    paths = [Path(_OUTPUT.value)] if _OUTPUT.value else []
    if any(path.suffix not in SUFFIXES or path.is_dir() for path in paths):
        raise ValueError(f"--output={_OUTPUT.value}: expected a file that ends in .svg or .png")
    results = Results(Workdir(folder))
    panels, metric = tuple(_PANEL.value), _METRIC.value or ""
    shown = axes.view(results.frame, _X.value or "", _HUE.value, panels).shown
    chart = results.plot(_X.value or "", _HUE.value, panels, metric)
    suffix = [metric] if metric not in ("", "test_accuracy") else []
    name = "_".join([*shown, *suffix]).replace("/", "_")
    # The name of a field may hold a dot, so that a suffix cannot be set by `with_suffix`.
    paths = paths or [folder / "figures" / f"{name}{ending}" for ending in SUFFIXES]
    for path in paths:
        try:
            chart.save(path)
        except OSError as error:
            raise ValueError(
                f"--output: cannot be written ({path}: {error.strerror}); expected a file in a "
                f"folder to write to"
            ) from None
    return paths


def _check(folder: Path) -> None:
    if not (folder / "results.csv").is_file():
        what = "holds no results.csv" if folder.is_dir() else "is no folder"
        raise ValueError(f"--workdir={folder}: it {what}; expected a folder that a sweep wrote")


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
