"""What experiments that train are told: flags, and what the config's file holds."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from experiments import command_line
from mnv2_jax import cache, cores
from mnv2_jax.ablation import grid, workdir
from mnv2_jax.ablation.grid import Grid
from mnv2_jax.analysis.claims import Claim
from mnv2_jax.data import sources
from mnv2_jax.train import compilation, inherited, memory, parallel, processes

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The config file; --config.KEY=VALUE sets a field of it.", lock_config=True
)
flags.FLAGS["config"].parser = command_line.ConfigParser("config")
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The folder for results, which may be gs://BUCKET/PATH or s3://BUCKET/PATH. "
    "Default: runs/<name of the experiment>.",
)
CHECKPOINT_SECONDS = flags.DEFINE_float(
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
    "files of records stop a run always.",
)
flags.DEFINE_bool("print_config", False, "Print the config as it is with all flags, and end.")
DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Tell what there is to train, how long it takes and what it costs, and end."
)
PREVIEW = flags.DEFINE_string(
    "preview", None, "Draw what the first run's network sees into this PNG file, and end."
)


def begin() -> None:
    """Sets jax up, before it is first used, as the flags say.

    Raises:
      ValueError: there is no config or too little address space, the workdir's URI is wrong, the
        folder for compiled programs cannot be made, the processes do not find one another, or there
        is no device.
    """
    if CONFIG.value is None:
        raise ValueError("--config: expected the path of a config file, such as configs/digits.py")
    memory.check_limit()
    workdir.check(WORKDIR.value or "")  # A dry run does not come to claim it.
    inherited.set_aside()
    _keep_programs(_COMPILATION_CACHE.value)
    parallel.use_all_cores()
    if _DISTRIBUTED.value:
        processes.join()
    inherited.check_devices()


def configs() -> list[ConfigDict]:
    """The runs of the config's grid, as the flags say.

    Raises:
      ValueError: the config or the grid is wrong.
    """
    points = command_line.of_config("get_grid", "a Grid", lambda found: isinstance(found, Grid))
    return grid.expand(CONFIG.value, points, command_line.overrides())


def claims() -> list[Claim]:
    """The config's claims.

    Raises:
      ValueError: they are none.
    """
    return list(command_line.of_config("get_claims", "a list of claims", _are_claims))


def name() -> str:
    """What the experiment is called by default."""
    path, argument = command_line.config_path()
    return "_".join([path.stem, *(re.sub(r"\W+", "_", part) for part in argument)])


def _are_claims(found: object) -> bool:
    return isinstance(found, Sequence) and all(isinstance(one, Claim) for one in found)


def _keep_programs(where: str | None) -> None:
    cached = cache.folder()  # Needed at the end at last; that there is none is told before.
    if where == "off":
        compilation.keep_programs(None)
        return
    folder = Path(where) if where else cached / "programs"
    try:
        compilation.keep_programs(folder, lambda line: print(line, file=sys.stderr))
    except OSError as error:
        raise ValueError(
            f"--compilation_cache={folder}: cannot be made ({error.strerror}); expected a folder "
            f"to write to, or 'off'"
        ) from None


def open_dataset(selection: sources.Selection) -> sources.Dataset:
    """Opens a data set as the flags say; see `mnv2_jax.data.sources.load`."""
    folder = Path(_DATA_DIR.value) if _DATA_DIR.value else None
    if folder and not folder.is_dir() and selection.name not in sources.EMBEDDED:
        what = "it is a file" if folder.exists() else "no such folder"
        raise ValueError(f"--data_dir={folder}: {what}; expected that of prepared data sets")
    return sources.load(selection, folder, skip_corrupt=_ON_CORRUPT.value == "skip")


def workers() -> int:
    """How many processes decode images that are streamed."""
    if _DATA_WORKERS.value is not None:
        return int(_DATA_WORKERS.value)
    return 0 if jax.default_backend() == "cpu" else max(1, cores.available() - 1)
