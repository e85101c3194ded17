"""Command lines of all experiments: one line per error, and exit status 2."""

import contextlib
import errno
import io
import itertools
import logging
import os
import re
import select
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

import experiments
from experiments import command_help
from mnv2_jax import cache, config_file
from mnv2_jax.ablation import grid, ids
from mnv2_jax.terminal import outlive, say
from mnv2_jax.train.preemption import Interrupted

FLAGS = flags.FLAGS


class ConfigParser(config_flags.ConfigFileFlagParser):
    """Reads a config file for the flag `--config`, and adds the later fields that it lacks."""

    def parse(self, path: str) -> ConfigDict:
        """See the base class."""
        config = super().parse(path)
        if isinstance(config, ConfigDict):
            ids.complete(config)
        return config


_HELP_CONFIG = "help_config"
_OF_A_PART = ("shard", "launcher", "ray_address")


def run(
    main: Callable[..., int],
    description: str,
    argument: str | None = None,
    *,
    several: bool = False,
    optional: bool = False,
    example: str = "configs/digits.py",
) -> NoReturn:
    """Parse `sys.argv`, call `main` and exit with the status that it gives.

    A ValueError or OSError out of `main` says that the input is wrong: it becomes one line on
    stderr and exit status 2, as do errors of the command line itself. Where nobody reads stdout any
    more, as behind `| head`, it ends without a word, with the status of one killed by SIGPIPE,
    unless it does more than print: see `mnv2_jax.terminal.outlive`.

    Args:
      main: the experiment.
      description: what `--help` says above the flags.
      argument: what the one argument that is no flag is called, which `main` is then called with;
        None where there is none.
      several: whether there may be more of it.
      optional: whether it may be left out.
      example: the config whose fields `--help_config` shows where none is named.
    """
    # Orbax logs, tracebacks included, what a line of ours tells: checkpoints that are passed over,
    # or that cannot be written.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    program = f"python -m experiments.{Path(sys.argv[0]).stem}"

    def outcome() -> int:
        if {"--help", "-h", "--helpfull"} & set(sys.argv[1:]):
            print(command_help.screen(description))
            return 0
        if "config" in FLAGS:
            flags.DEFINE_bool(_HELP_CONFIG, False, "Print every field of the config, and end.")
        _check_overrides(sys.argv[1:])
        asked = f"--{_HELP_CONFIG}" in sys.argv[1:]
        arguments = _parse(sys.argv, argument, several=several or asked, optional=optional or asked)
        if asked:
            print(_help_on_config(example))
            return 0
        return main(*arguments)

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A name is shown, whatever the terminal knows.
            stream.reconfigure(errors="backslashreplace")
    outlive("stderr")
    try:
        if signal.getsignal(signal.SIGINT) is experiments.interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with _while_stdout_is_read():
            status = outcome()
    except Interrupted as stopped:
        name = signal.Signals(stopped.signal).name
        say(f"{program}: stopped by {name}: {stopped}; run it again to go on", sys.stderr)
        _exit_at_once(128 + stopped.signal)
    except KeyboardInterrupt:
        say(f"{program}: interrupted; run it again to go on", sys.stderr)
        sys.exit(130)
    except (ValueError, OSError) as error:
        full = _full_disk(error)
        say(f"{program}: {' '.join((full or flagged(str(error))).split())}", sys.stderr)
        if full:
            _exit_at_once(2)
        sys.exit(2)
    sys.exit(status)


def flagged(message: str) -> str:
    """Return a library's error with dashes before the argument that it names, if that is a flag."""
    named = re.match(r"(\w+)[=:]", message)
    return f"--{message}" if named and named[1] in FLAGS else message


@contextlib.contextmanager
def _while_stdout_is_read() -> Iterator[None]:
    """End the process if stdout is a pipe that is no longer read, at the block's end at last.

    It is not left to SIGPIPE, which would come of the sockets of clients of buckets too.
    """
    try:
        yield
        print(end="", flush=True)  # At exit, Python would tell of an error by a traceback.
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, BrokenPipeError):
            is_of_stdout = _is_stdout_broken()
        else:  # Rich makes it of the error, and has replaced stdout then.
            is_of_stdout = isinstance(error.__context__, BrokenPipeError)
        if is_of_stdout:
            _exit_at_once(128 + signal.SIGPIPE)
        raise


def _is_stdout_broken() -> bool:
    stdout = select.poll()
    stdout.register(1, 0)  # What is wrong with it is told in any case.
    return bool(stdout.poll(0))


def _exit_at_once(status: int) -> NoReturn:
    """Not by sys.exit, which would wait for a compilation in the background.

    And what still cannot be written would be told of by tracebacks.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            print(end="", file=stream, flush=True)
    os._exit(status)


_REASONS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk is full, or your share of it; free some space",
    errno.EFBIG: "a file cannot become as large as it has to, see `ulimit -f`; raise the limit",
}


def _full_disk(error: BaseException) -> str:
    """Return the message of an error that comes of a full disk; "" for another error.

    What writes checkpoints raises errors of its own, which tell of the disk in their text.
    """
    chain = [error]
    while (behind := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(behind)
    for number, reason in _REASONS.items():
        if any(_tells_of(one, number) for one in chain):
            if flagged(str(error)).startswith("--"):  # It names the flag already.
                return ""
            where = _place(chain)
            advice = f"{reason} and run the same command, which goes on"
            return f"{where}: {advice}" if where else advice
    return ""


def _tells_of(error: BaseException, number: int) -> bool:
    return getattr(error, "errno", None) == number or os.strerror(number) in str(error)


def _place(chain: Sequence[BaseException]) -> str:
    """Return the place that could not be written to, as the user knows it; "" if unknown."""
    for error in chain:
        if isinstance(error, OSError) and error.filename is not None:
            return _folder_of(Path(os.fsdecode(error.filename)))
        if isinstance(error, shutil.Error):  # Of files that were copied or moved: from, to, why.
            return _folder_of(Path(error.args[0][0][1]))
        named = str(error).partition(": ")[0]
        if "/" in named:
            return _folder_of(Path(named))
    try:
        print(end="", flush=True)  # What could not be written is tried again.
    except OSError:
        return "stdout"
    places = [*_flags().values(), Path(tempfile.gettempdir()), Path("/dev/shm")]
    with contextlib.suppress(ValueError):
        places.append(cache.folder())
    return next((_folder_of(place / "any") for place in places if _is_full(place)), "")


def _flags() -> dict[str, Path]:
    """Flag that name what is written, as they were given."""
    names = ("workdir", "compilation_cache", "output", "export", "preview", "data_dir")
    given = {name: FLAGS[name].value for name in names if name in FLAGS}
    return {f"--{name}={value}": Path(value).absolute() for name, value in given.items() if value}


def _folder_of(path: Path) -> str:
    """Return the flag that names a file or a folder around it, else the folder that it is in."""
    path = path.absolute()
    for flag, folder in _flags().items():
        if folder in (path, *path.parents):
            return flag
    return str(next(folder for folder in path.parents if folder.suffix != ".tmp"))


def _is_full(place: Path) -> bool:
    there = next((folder for folder in (place, *place.parents) if folder.exists()), None)
    return there is not None and shutil.disk_usage(there).free < 2**20


def command() -> str:
    """Return the command line, as one would type it again."""
    return shlex.join(["python", "-m", f"experiments.{Path(sys.argv[0]).stem}", *sys.argv[1:]])


def of_the_whole(command: str, *others: str) -> str:
    """Return a command without the flags that say which part of an experiment to train, or where.

    Args:
      command: as typed.
      *others: names of flags to leave out too.
    """
    kept = []
    words = iter(shlex.split(command))
    for word in words:
        flag, equals, _ = word.lstrip("-").partition("=")
        if not (word.startswith("-") and flag in (*_OF_A_PART, *others)):
            kept.append(word)
        elif not equals:
            next(words, None)  # Its value is a word of its own.
    return shlex.join(kept)


def config_path() -> tuple[Path, tuple[str, ...]]:
    """Return the config's file and the argument that may follow a colon: none or one.

    `get_config` is called with it, and so must be what else the file holds.
    """
    path, colon, argument = config_flags.get_config_filename(FLAGS["config"]).partition(":")
    return Path(path), (argument,) if colon else ()


def overrides() -> set[str]:
    """Return the paths of config fields that were given on the command line."""
    return set(config_flags.get_override_values(FLAGS["config"]))


def _check_overrides(arguments: Sequence[str]) -> None:
    """Find unknown config fields before ml-collections does, which it tells by a traceback.

    Raises:
      ValueError: the config's file is wrong, or it has no such field.
    """
    named = _config_named(arguments)
    config = _config(named) if named else None
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0]
        if config is not None and name.startswith("config."):
            grid.check_field(config, name.removeprefix("config."))


def _config(value: str) -> ConfigDict:
    """Read the config that `--config=VALUE` stands for, with the later fields that it lacks."""
    config = config_file.config(value)
    ids.complete(config)
    return config


def _config_named(arguments: Sequence[str]) -> str:
    """Return the value of `--config` before flags are parsed; empty where it is not given."""
    value = ""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, equals, given = argument.partition("=")
        if name in ("--config", "-config"):
            value = given if equals else following
    return value


def _help_on_config(example: str) -> str:
    """Return the docstring of the named config or the example, and its fields as flags set them."""
    named = FLAGS["config"].value is not None
    name = _config_named(sys.argv) or example
    path = name.partition(":")[0]
    said = config_file.load(Path(path)).__doc__ or ""
    config = FLAGS["config"].value if named else _config(name)
    return f"{path}: {said.strip()}\n\n{command_help.config_screen(config, name)}"


def _parse(
    arguments: Sequence[str],
    argument: str | None,
    *,
    several: bool = False,
    optional: bool = False,
) -> list[str]:
    """Set the flags, and give the arguments that are none; see `run` for which there may be."""
    try:
        extra = FLAGS(arguments)[1:]
    except flags.IllegalFlagValueError as error:
        found = re.match(r"flag --(config\.\S+?)=(.*?): ", str(error), re.DOTALL)
        if not found:
            raise ValueError(str(error)) from None
        name, value = found.groups()
        expected = grid.expected(FLAGS["config"].value, name.removeprefix("config."))
        raise ValueError(f"{name}={value}: expected {expected}") from None
    except flags.Error as error:
        raise ValueError(str(error)) from None
    wanted = 0 if argument is None else 1
    if len(extra) > wanted and not several:
        raise ValueError(f"{extra[wanted]}: unknown argument; flags begin with --")
    if len(extra) < wanted and not optional:
        raise ValueError(f"{argument}: it is missing; expected one, see --help")
    return extra
