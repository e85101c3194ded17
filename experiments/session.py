"""Flags and main function of commands that train."""

import sys
import time
from collections.abc import Iterable

from absl import flags
from ml_collections.config_flags import config_flags

from experiments import command_line, dry_run
from mnv2_jax.ablation import grid, workdir
from mnv2_jax.ablation.job import DataOptions
from mnv2_jax.ablation.launchers import Launcher, Local
from mnv2_jax.api.experiment import Experiment
from mnv2_jax.api.running import Origin, selected
from mnv2_jax.terminal import Console, outlive
from mnv2_jax.train import processes, setup

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The config file, and after a colon its argument.", lock_config=True
)
flags.FLAGS["config"].parser = command_line.ConfigParser("config")
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The folder for results, local, gs:// or s3://. Default: runs/NAME of the experiment.",
)
_CHECKPOINT_SECONDS = flags.DEFINE_float(
    "checkpoint_seconds",
    60.0,
    "Seconds between checkpoints, which are written at ends of epochs if possible.",
    lower_bound=0.0,
)
_COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "The folder of compiled programs, or off. Default: in the user's cache folder.",
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Train in several processes that share batches, by jax.distributed.initialize().",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "The folder of prepared data sets. Default: in the user's cache folder."
)
_DATA_WORKERS = flags.DEFINE_integer(
    "data_workers",
    None,
    "Processes that decode streamed images; 0: threads. Default: 0 on CPU, else cores - 1.",
    lower_bound=0,
)
_ON_CORRUPT = flags.DEFINE_enum(
    "on_corrupt",
    "fail",
    ["fail", "skip"],
    "Stop at images that cannot be decoded, or leave them out and say so.",
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the runs, their cost and time, and end.")
_PREVIEW = flags.DEFINE_string(
    "preview", None, "Draw training images as the network sees them into this PNG file, and end."
)


def begin() -> None:
    """Set jax up by the flags, before its first use.

    Raises:
      ValueError: there is no config, the workdir's URI is wrong, or see
        `mnv2_jax.train.setup.begin`.
    """
    if CONFIG.value is None:
        raise ValueError("--config: expected the path of a config file, such as configs/digits.py")
    workdir.check_location(_WORKDIR.value or "")  # A dry run does not claim it.
    setup.begin(_COMPILATION_CACHE.value, distributed=_DISTRIBUTED.value)


def experiment(pretrained: str | None = None) -> Experiment:
    """Return the experiment of the config file, with the fields that flags set.

    Raises:
      ValueError: the config file is wrong.
    """
    fields = grid.fields(CONFIG.value)
    overrides = {field: fields[field] for field in command_line.overrides()}
    return Experiment.from_file(command_line.config_name(), overrides, pretrained=pretrained)


def run(
    experiment: Experiment,
    launcher: Launcher | None = None,
    *,
    keep_checkpoints: bool = False,
    keep_networks: bool | None = None,
    seeds: int | Iterable[int] | None = None,
) -> int:
    """Run, preview or dry-run an experiment, by the flags. Return 1 if a cohort failed, else 0.

    Raises:
      ValueError: a config, a claim or the workdir is wrong.
      OSError: the workdir or the data cache cannot be written to.
      Interrupted: a signal came.
    """
    data = DataOptions(_DATA_DIR.value, _DATA_WORKERS.value, _ON_CORRUPT.value)
    console = Console(soft_wrap=not sys.stdout.isatty(), quiet=not processes.is_primary())
    launcher = launcher or Local()
    if _PREVIEW.value:
        experiment.preview(_PREVIEW.value, data=data)
        console.print(f"Images as the network sees them: {_PREVIEW.value}; nothing is trained")
        return 0
    if _DRY_RUN.value:
        start = time.perf_counter()
        planned = experiment.prepare(seeds, data, console.print)
        planning = time.perf_counter() - start
        cohorts = selected(planned.certain, launcher, console.print)
        launcher.check(cohorts)
        most = launcher.select(planned.cohorts)
        where = _WORKDIR.value or f"runs/{experiment.name}"
        dry_run.show(console, planned, cohorts, most, where, planning)
        return 0
    experiment.prepare(seeds, data, console.print)  # Wrong input is reported before all else.
    outlive("stdout")
    command = command_line.command()
    results = experiment.run(
        _WORKDIR.value,
        launcher,
        seeds=seeds,
        data_dir=data.folder,
        data_workers=data.workers,
        on_corrupt=data.on_corrupt,
        checkpoint_seconds=_CHECKPOINT_SECONDS.value,
        keep_checkpoints=keep_checkpoints,
        keep_networks=keep_networks,
        compilation_cache=_COMPILATION_CACHE.value,
        origin=Origin(command, command_line.of_the_whole(command), command_line.config_name()),
    )
    return 1 if results.outcome and results.outcome.failed else 0
