"""Print the progress of an experiment: its runs done, running, failed and waiting.

  python -m experiments.status --workdir=runs/digits
  python -m experiments.status --workdir=runs/digits --format=json
  python -m experiments.status --workdir=s3://bucket/digits

It reads the files in the folder, and may be run at any time, on any machine that sees it.
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

flags.DEFINE_string("workdir", None, "The folder of an experiment, which may be gs:// or s3://.")
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "How to print.")


def main() -> int:
    """Print the status of the experiment. Return 0, whatever it is.

    Raises:
      ValueError: there is no experiment in the folder.
    """
    where = command_line.required("workdir", "the folder of an experiment, such as runs/digits")
    with workdir.seen(where, files=schema.RECORD[-1:]) as here:
        content = status.read(here.path, here.files)
        described = {}
        # If it is damaged, metrics are called by the names of their columns.
        with contextlib.suppress(checksums.DamagedError):
            described = schema.read_columns(here.path)
    if _FORMAT.value == "json":
        print(json.dumps(content, indent=1))
    else:
        _print(content, described)
    return 0


def _print(content: dict[str, Any], described: Mapping[str, schema.Column]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None)
    longest = max((len(cohort["label"]) for cohort in content["cohorts"]), default=0)
    table.add_column("cohort", min_width=min(longest, 20))
    for name in status.STATES:
        table.add_column(name, justify="right")
    names = dict.fromkeys(name for cohort in content["cohorts"] for name in cohort["means"])
    metrics = [schema.column(name, described) for name in names]
    for metric in metrics:
        table.add_column(f"mean {metric.label.lower()}", justify="right")
    for cohort in content["cohorts"]:
        means = cohort["means"]
        table.add_row(
            cohort["label"],
            *(f"{cohort[name]:,}" for name in status.STATES),
            *(
                metric.text(means[metric.name]) if metric.name in means else ""
                for metric in metrics
            ),
        )
    if len(content["cohorts"]) > 1:
        table.add_row("all", *(f"{content['all'][name]:,}" for name in status.STATES))
    console.print(f"{content['name']}: {content['command']}")
    console.print(table)
    for part in content["training"]:
        seen = f"last seen {part['seconds_ago']:.0f} s ago" if part["alive"] else "has stopped"
        console.print(
            f"{part['cohort']}: {part['runs']} runs, step {part['step']} of {part['steps']}, "
            f"process {part['pid']} on {part['host']}, {seen}",
        )
    for error in content["errors"]:
        console.print(f"{error['runs']} failed: {error['error']}")
    for line in first_few(content["damaged"]):
        console.print(f"{line}; the run is trained again next time")


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
