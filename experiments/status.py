"""Shows how far an experiment is: its runs done, running, failed and waiting.

  python -m experiments.status --workdir=runs/digits
  python -m experiments.status --workdir=runs/digits --format=json
  python -m experiments.status --workdir=s3://bucket/digits

It reads what training leaves in the folder, and may be run at any time, on any machine that sees
it.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from absl import flags
from rich.table import Table

from experiments import command_line
from mnv2_jax import checksums, schema
from mnv2_jax.ablation import status, workdir
from mnv2_jax.terminal import Console, first_few

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The folder of an experiment, which may be gs:// or s3://."
)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "How to print.")


def main() -> int:
    """Print the state of the experiment. Returns 0, whatever it is.

    Raises:
      ValueError: there is no experiment in the folder.
    """
    if _WORKDIR.value is None:
        raise ValueError("--workdir: expected the folder of an experiment, such as runs/digits")
    with workdir.seen(_WORKDIR.value, files=schema.RECORD[-1:]) as here:
        found = status.read(here.path, here.files)
        described = {}
        with contextlib.suppress(
            checksums.DamagedError
        ):  # Metrics then go by their columns' names.
            described = schema.read_columns(here.path)
    if _FORMAT.value == "json":
        print(json.dumps(found, indent=1))
    else:
        _print(found, described)
    return 0


def _print(found: dict[str, Any], described: Mapping[str, schema.Column]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None)
    longest = max((len(cohort["label"]) for cohort in found["cohorts"]), default=0)
    table.add_column("cohort", min_width=min(longest, 20))
    for name in status.STATES:
        table.add_column(name, justify="right")
    names = dict.fromkeys(name for cohort in found["cohorts"] for name in cohort["means"])
    metrics = [schema.column(name, described) for name in names]
    for metric in metrics:
        table.add_column(f"mean {metric.label.lower()}", justify="right")
    for cohort in found["cohorts"]:
        means = cohort["means"]
        table.add_row(
            cohort["label"],
            *(f"{cohort[name]:,}" for name in status.STATES),
            *(one.text(means[one.name]) if one.name in means else "" for one in metrics),
        )
    if len(found["cohorts"]) > 1:
        table.add_row("all", *(f"{found['all'][name]:,}" for name in status.STATES))
    console.print(f"{found['name']}: {found['command']}")
    console.print(table)
    for one in found["training"]:
        seconds = f"heard of {one['seconds_ago']:.0f} s ago"
        console.print(
            f"{one['cohort']}: {one['runs']} runs, step {one['step']} of {one['steps']}, "
            f"process {one['pid']} on {one['host']}, {seconds if one['alive'] else 'has stopped'}",
        )
    for error in found["errors"]:
        console.print(f"{error['runs']} failed: {error['error']}")
    for line in first_few(found["damaged"]):
        console.print(f"{line}; the run is trained again the next time")


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
