"""Times this package's operators, training steps and grids beside those of others.

  python -m experiments.bench
  python -m experiments.bench --only=depthwise,step
  python -m experiments.bench --output=experiments/results/bench

Contenders run in turns, in one go of the command; what is printed are medians and their ratios.
PyTorch, timm and Keras take part where they are installed (make parity), and are named where they
are not. On two idle cores the default takes about ten minutes. Groups:

  depthwise   the depthwise convolution, forward and backward
  step        a training step of the presets, over numbers of lanes
  grid        the default ablation, end to end
  host        the time that training spends outside of compiled programs
  loader      decoding and cropping of images that are streamed
  scaling     how the cost of training grows with lanes, pixels and width
  roofline    on an accelerator: achieved memory traffic and arithmetic
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from absl import flags

from experiments import command_line
from experiments.benchmarks import (
    depthwise,
    figure,
    grid,
    host,
    loader,
    ours,
    roofline,
    rows,
    scaling,
    step,
)
from mnv2_jax import atomic
from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.terminal import Console
from mnv2_jax.train import inherited

_WIDTH_OF_FILES = 160


_ONLY = flags.DEFINE_list("only", None, "Groups, separated by commas. Default: all.")
_OUTPUT = flags.DEFINE_string("output", None, "A folder for a CSV file per group, and a figure.")
_THOROUGH = flags.DEFINE_bool(
    "thorough", False, "Every number of lanes and torch.compile with every network: an hour."
)


class Group(NamedTuple):
    """Benchmarks that share a table and a file.

    Attributes:
      title: of the table.
      ratio: what the rows' ratio is.
      measure: gives the rows.
      draw: makes a figure of them, where there is one.
    """

    title: str
    ratio: str
    measure: Callable[[], list[rows.Row]]
    draw: Callable[[Sequence[rows.Row]], Chart | None] | None = None


GROUPS = {
    "depthwise": Group(depthwise.TITLE, depthwise.RATIO, depthwise.measure),
    "step": Group(
        step.TITLE, step.RATIO, lambda: step.measure(thorough=_THOROUGH.value), figure.draw
    ),
    "grid": Group(grid.TITLE, grid.RATIO, grid.measure),
    "host": Group(host.TITLE, host.RATIO, host.measure),
    "loader": Group(loader.TITLE, loader.RATIO, loader.measure),
    "scaling": Group(scaling.TITLE, scaling.RATIO, scaling.measure),
    "roofline": Group(roofline.TITLE, roofline.RATIO, roofline.measure),
}


def main() -> int:
    """Measures the groups asked for, prints each as it ends and writes it if asked to.

    Raises:
      ValueError: there is no such group, or the output is a file.
    """
    names = chosen(_ONLY.value)
    output = Path(_OUTPUT.value) if _OUTPUT.value else None
    if output and output.exists() and not output.is_dir():
        raise ValueError(f"--output={output}: it is a file; expected a folder")
    # On a GPU the peers' processes need memory too, most of which JAX would take in advance.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    inherited.set_aside()
    ours.use_all_cores()
    inherited.check_devices()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
    for name in names:
        group = GROUPS[name]
        if name == "roofline" and jax.default_backend() == "cpu":
            console.print("roofline: skipped, for accelerators only\n")
            continue
        measured = group.measure()
        console.print(rows.table(group.title, group.ratio, measured))
        console.print()
        if output:
            atomic.write_text(output / f"{name}.csv", rows.to_csv(measured))
        if output and group.draw and (chart := group.draw(measured)):
            chart.save(output / f"{name}.svg")
    return 0


def chosen(only: Sequence[str] | None) -> list[str]:
    """The groups asked for, in the order of `GROUPS`."""
    if only is None:
        return list(GROUPS)
    for name in only or [""]:
        if name not in GROUPS:
            raise ValueError(f"--only={name}: expected some of {', '.join(GROUPS)}")
    return [name for name in GROUPS if name in only]


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
