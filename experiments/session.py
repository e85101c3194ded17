"""The flags of commands that train, and what they do with an experiment."""

import sys

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
    "config", None, "The config file; --config.KEY=VALUE sets a field of it.", lock_config=True
)
flags.FLAGS["config"].parser = command_line.ConfigParser("config")
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The folder for results, which may be gs://BUCKET/PATH or s3://BUCKET/PATH. "
    "Default: runs/<name of the experiment>.",
)
_CHECKPOINT_SECONDS = flags.DEFINE_float(
    "checkpoint_seconds",
    60.0,
    "After so many seconds of training, a checkpoint is written at the next end of an epoch; "
    "after twice as many, within one. What a kill costs at most.",
    lower_bound=0.0,
)
_COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "The folder that compiled programs are kept in, or 'off'. Default: the user's cache folder.",
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Start this process as one of several that share batches, by jax.distributed.initialize(): on "
    "a TPU pod or under Slurm it finds the others by itself, elsewhere JAX_COORDINATOR_ADDRESS, "
    "JAX_NUM_PROCESSES and JAX_PROCESS_ID tell.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "The folder of prepared data sets. Default: in the user's cache folder."
)
_DATA_WORKERS = flags.DEFINE_integer(
    "data_workers",
    None,
    "Processes that decode images which are streamed; 0 decodes in threads. No number changes what "
    "comes out. Default: 0 on CPU, else all cores but one.",
    lower_bound=0,
)
_ON_CORRUPT = flags.DEFINE_enum(
    "on_corrupt",
    "fail",
    ["fail", "skip"],
    "What to do with an image that cannot be decoded: stop, or leave it out and tell. Damaged "
    "files of records, and images of a folder that change meanwhile, stop a run always.",
)
flags.DEFINE_bool("print_config", False, "Print the config as it is with all flags, and end.")
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Tell what there is to train, how long it takes and what it costs, and end."
)
_PREVIEW = flags.DEFINE_string(
    "preview", None, "Draw what the first run's network sees into this PNG file, and end."
)


def begin() -> None:
    """Set jax up, before it is first used, as the flags say.

    Raises:
      ValueError: there is no config, the workdir's URI is wrong, or see
        `mnv2_jax.train.setup.begin`.
    """
    if CONFIG.value is None:
        raise ValueError("--config: expected the path of a config file, such as configs/digits.py")
    workdir.check(_WORKDIR.value or "")  # A dry run does not come to claim it.
    setup.begin(_COMPILATION_CACHE.value, distributed=_DISTRIBUTED.value)


def experiment(pretrained: str | None = None) -> Experiment:
    """The config file's experiment, with the fields that flags set.

    Raises:
      ValueError: the config file is wrong.
    """
    path, argument = command_line.config_path()
    fields = grid.fields(CONFIG.value)
    overrides = {field: fields[field] for field in command_line.overrides()}
    return Experiment.from_file(":".join([str(path), *argument]), overrides, pretrained=pretrained)


def run(
    experiment: Experiment,
    launcher: Launcher | None = None,
    *,
    keep_checkpoints: bool = False,
    keep_networks: bool | None = None,
) -> int:
    """Do with an experiment what the flags say. Returns 1 if a cohort failed, else 0.

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
        console.print(f"What the network sees: {_PREVIEW.value}; nothing is trained")
        return 0
    if _DRY_RUN.value:
        planned = experiment.prepare(data=data, say=console.print)
        cohorts = selected(planned, launcher, console.print)
        launcher.check(cohorts)
        dry_run.show(console, planned, cohorts)
        return 0
    experiment.prepare(data=data, say=console.print)  # What is wrong is told before anything else.
    outlive("stdout")
    path, argument = command_line.config_path()
    command = command_line.command()
    config = ":".join([str(path), *argument])
    results = experiment.run(
        _WORKDIR.value,
        launcher,
        data_dir=data.folder,
        data_workers=data.workers,
        on_corrupt=data.on_corrupt,
        checkpoint_seconds=_CHECKPOINT_SECONDS.value,
        keep_checkpoints=keep_checkpoints,
        keep_networks=keep_networks,
        compilation_cache=_COMPILATION_CACHE.value,
        origin=Origin(command, command_line.of_the_whole(command), config),
    )
    return 1 if results.outcome and results.outcome.failed else 0
