"""Time this package's operators, training steps and grids beside PyTorch's.

  python -m experiments.bench
  python -m experiments.bench --only=depthwise,step
  python -m experiments.bench --output=experiments/results/bench

Contenders run in turns, in one process; medians and their ratios are printed. PyTorch takes part if
it is installed (make parity), and is listed as absent otherwise. On two idle cores the default
takes about ten minutes. Groups:

  depthwise   the depthwise convolution, forward and backward
  step        a training step of the presets, over numbers of lanes
  grid        the default ablation, end to end
  roofline    on an accelerator: achieved memory traffic and arithmetic
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

from experiments import command_line
from experiments.benchmarks import depthwise, grid, roofline, rows, step
from mnv2_jax import atomic
from mnv2_jax.terminal import Console
from mnv2_jax.train import parallel, setup

_WIDTH_OF_FILES = 160


_ONLY = flags.DEFINE_list("only", None, "Groups, separated by commas. Default: all.")
_OUTPUT = flags.DEFINE_string("output", None, "A folder for a CSV file per group.")
_THOROUGH = flags.DEFINE_bool(
    "thorough", False, "Every number of lanes and torch.compile with every network: an hour."
)


GROUPS: dict[str, Any] = {
    "depthwise": depthwise,
    "step": step,
    "grid": grid,
    "roofline": roofline,
}
"""Modules, each with the title and the ratio of a table, and a function that measures its rows."""


def main() -> int:
    """Measure the chosen groups; print each when it ends, and write it to --output.

    Raises:
      ValueError: there is no such group, or the output is a file.
    """
    names = chosen(_ONLY.value)
    output = Path(_OUTPUT.value) if _OUTPUT.value else None
    if output and output.exists() and not output.is_dir():
        raise ValueError(f"--output={output}: it is a file; expected a folder")
    # On a GPU the peers' processes need memory too, and JAX would preallocate most of it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    setup.apply_settings()
    parallel.use_all_cores()
    setup.check_devices()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
    for name in names:
        group = GROUPS[name]
        if name == "roofline" and jax.default_backend() == "cpu":
            console.print("roofline: skipped, for accelerators only\n")
            continue
        options = {"thorough": _THOROUGH.value} if group is step else {}
        measured = group.measure(**options)
        console.print(rows.table(group.TITLE, group.RATIO, measured))
        console.print()
        if output:
            atomic.write_text(output / f"{name}.csv", rows.to_csv(measured))
    return 0


def chosen(only: Sequence[str] | None) -> list[str]:
    """Return the names in `--only`, by default all, in the order of `GROUPS`."""
    if only is None:
        return list(GROUPS)
    for name in only or [""]:
        if name not in GROUPS:
            raise ValueError(f"--only={name}: expected some of {', '.join(GROUPS)}")
    return [name for name in GROUPS if name in only]


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
