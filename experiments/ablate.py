"""Trains a grid of networks, decides the config's claims and writes a report.

  python -m experiments.ablate --config=configs/digits.py
  python -m experiments.ablate --config=configs/digits.py --workdir=runs/30 --config.train.epochs=30
  python -m experiments.ablate --config=configs/digits.py --config.model.expansion=6

A field given on the command line is the same in all runs; where the grid has an axis on it, the
axis collapses to that value. What is finished in the workdir is not trained again.
"""

import re
import sys
import time
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags
from rich.console import Console

from experiments import command_line
from experiments.progress import show_progress
from mnv2_jax import atomic
from mnv2_jax.ablation import cohort, grid, records, sweep
from mnv2_jax.analysis.claims import check, claims_table
from mnv2_jax.analysis.report import analyse
from mnv2_jax.data import sources
from mnv2_jax.train import parallel

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The config file; --config.KEY=VALUE sets a field of it.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The folder for results. Default: runs/<name of the config>[_<its argument>]."
)


def main() -> int:
    """Runs the experiment. Returns 1 if a cohort failed, else 0, whatever the verdicts are.

    Raises:
      ValueError: the config, the grid or a claim is wrong.
      OSError: the workdir or the data cache cannot be written to.
    """
    start = time.perf_counter()
    parallel.use_all_cores()
    console = Console(soft_wrap=not sys.stdout.isatty())
    if _CONFIG.value is None:
        raise ValueError("--config: expected the path of a config file, such as configs/digits.py")
    path, argument = command_line.config_path()
    module = command_line.load_module(path)
    name = "_".join([path.stem, *(re.sub(r"\W+", "_", part) for part in argument)])
    workdir = Path(_WORKDIR.value or Path("runs") / name)
    _check_workdir(workdir)
    config: ConfigDict = _CONFIG.value
    configs = grid.expand(config, module.get_grid(*argument), command_line.overrides())
    claims = module.get_claims(*argument)
    dataset = sources.load(config.data.name)
    cohorts = cohort.plan(configs, dataset)
    check(claims, records.columns([run for part in cohorts for run in part.runs]))

    sweep.check_code(workdir, cohorts)

    todo = sum(len(part.runs) for part in sweep.remaining(workdir, cohorts))
    console.print(
        f"Runs: {len(configs)}, cohorts: {len(cohorts)}; {len(configs) - todo} finished before, "
        f"{todo} to train"
    )
    with show_progress(console, sweep.remaining(workdir, cohorts)) as progress:
        outcome = sweep.sweep(workdir, cohorts, dataset, command_line.command(), progress)
    rows = analyse(workdir, claims, title=name, command=command_line.command())
    console.print(claims_table(rows))
    console.print(f"Report: {workdir / 'report.html'}")
    console.print(
        f"{outcome.trained - outcome.failed} runs trained, {outcome.failed} failed, "
        f"{time.perf_counter() - start:.0f} s in all"
    )
    return 1 if outcome.failed else 0


def _check_workdir(workdir: Path) -> None:
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"--workdir={workdir}: it is a file; expected a folder")
    try:
        with atomic.folder(workdir / ".writable"):
            pass
        (workdir / ".writable").rmdir()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(
            f"--workdir={workdir}: cannot write there ({reason}); expected a folder to write to"
        ) from None


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
