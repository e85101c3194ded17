"""Command lines of all experiments: one line per error, and exit status 2."""

import contextlib
import io
import itertools
import logging
import os
import re
import select
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

import experiments
from experiments import command_help, full_disk
from mnv2_jax import config_file
from mnv2_jax.ablation import grid, ids
from mnv2_jax.terminal import outlive, say
from mnv2_jax.train.preemption import Interrupted

FLAGS = flags.FLAGS


class ConfigParser(config_flags.ConfigFileFlagParser):
    """Parser of `--config`, which adds fields that a config file of an earlier version lacks."""

    def parse(self, path: str) -> ConfigDict:
        """Return the config of a file."""
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
    """Parse `sys.argv`, call `main` and exit with the status that it returns.

    A ValueError or OSError from `main` means wrong input: it is printed to stderr as one line, with
    exit status 2, as are errors of the command line itself. When stdout is closed, as by `| head`,
    the command exits silently with the status of a process that SIGPIPE killed, unless it does more
    than print; see `mnv2_jax.terminal.outlive`.

    Args:
      main: the command.
      description: text of `--help` above the flags.
      argument: name of the positional argument, which `main` is called with; None for none.
      several: whether there may be more than one.
      optional: whether it may be left out.
      example: the config whose fields `--help_config` prints without `--config`.
    """
    # Orbax logs, with tracebacks, what this project prints as a line: checkpoints that are skipped,
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
        if isinstance(stream, io.TextIOWrapper):  # Names may hold letters that the terminal lacks.
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
        line = flagged(str(error))
        full = "" if line.startswith("--") else full_disk.message(error, _written())
        say(f"{program}: {' '.join((full or line).split())}", sys.stderr)
        if full:
            _exit_at_once(2)
        sys.exit(2)
    sys.exit(status)


def flagged(message: str) -> str:
    """Return an error of the library, with -- before the argument that it names if it is a flag."""
    named = re.match(r"(\w+)[=:]", message)
    return f"--{message}" if named and named[1] in FLAGS else message


def required(name: str, expected: str) -> str:
    """Return the value of a flag that has no default.

    Raises:
      ValueError: it is missing.
    """
    value: str | None = FLAGS[name].value
    if not value:
        raise ValueError(f"--{name}: expected {expected}")
    return value


def _written() -> dict[str, Path]:
    """Return the paths that flags name and that are written, by the flag as it was given."""
    names = ("workdir", "compilation_cache", "output", "out", "export", "preview", "data_dir")
    values = {name: FLAGS[name].value for name in names if name in FLAGS}
    return {f"--{name}={value}": Path(value).absolute() for name, value in values.items() if value}


@contextlib.contextmanager
def _while_stdout_is_read() -> Iterator[None]:
    """End the process when stdout is a pipe that nobody reads, at the latest when the block ends.

    SIGPIPE is not used for this: sockets of clients of buckets raise it too.
    """
    try:
        yield
        print(end="", flush=True)  # At exit, Python would print a traceback.
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, BrokenPipeError):
            is_of_stdout = _is_stdout_broken()
        else:  # Rich raises it for that error, and has replaced stdout.
            is_of_stdout = isinstance(error.__context__, BrokenPipeError)
        if is_of_stdout:
            _exit_at_once(128 + signal.SIGPIPE)
        raise


def _is_stdout_broken() -> bool:
    stdout = select.poll()
    stdout.register(1, 0)  # Errors are reported without being asked for.
    return bool(stdout.poll(0))


def _exit_at_once(status: int) -> NoReturn:
    """Exit without waiting for compilations in the background or printing tracebacks."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            print(end="", file=stream, flush=True)
    os._exit(status)


def command() -> str:
    """Return the command line, as one would type it again."""
    return shlex.join(["python", "-m", f"experiments.{Path(sys.argv[0]).stem}", *sys.argv[1:]])


def of_the_whole(command: str, *others: str) -> str:
    """Return a command without the flags that choose a part of an experiment or a launcher.

    Args:
      command: as typed.
      *others: names of more flags to leave out.
    """
    kept = []
    words = iter(shlex.split(command))
    for word in words:
        flag, equals, _ = word.lstrip("-").partition("=")
        if not (word.startswith("-") and flag in (*_OF_A_PART, *others)):
            kept.append(word)
        elif not equals:
            next(words, None)  # The flag's value.
    return shlex.join(kept)


def config_name() -> str:
    """Return the value of `--config`: a file, and after a colon its argument."""
    name: str = config_flags.get_config_filename(FLAGS["config"])
    return name


def overrides() -> set[str]:
    """Return the paths of config fields that were given on the command line."""
    return set(config_flags.get_override_values(FLAGS["config"]))


def _check_overrides(arguments: Sequence[str]) -> None:
    """Check the fields that arguments set, for which ml-collections would print a traceback.

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
    """Return the config of `--config=VALUE`, with the fields that an earlier version lacked."""
    config = config_file.config(value)
    ids.complete(config)
    return config


def _config_named(arguments: Sequence[str]) -> str:
    """Return the value of `--config` before flags are parsed; "" by default."""
    value = ""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, equals, own = argument.partition("=")
        if name in ("--config", "-config"):
            value = own if equals else following
    return value


def _help_on_config(example: str) -> str:
    """Return the docstring of a config file, and the config's fields as flags set them."""
    named = FLAGS["config"].value is not None
    name = _config_named(sys.argv) or example
    path = name.partition(":")[0]
    head = config_file.load(Path(path)).__doc__ or ""
    config = FLAGS["config"].value if named else _config(name)
    return f"{path}: {head.strip()}\n\n{command_help.config_screen(config, name)}"


def _parse(
    arguments: Sequence[str],
    argument: str | None,
    *,
    several: bool = False,
    optional: bool = False,
) -> list[str]:
    """Set the flags, and return the positional arguments; see `run`."""
    try:
        positional = FLAGS(arguments)[1:]
    except flags.IllegalFlagValueError as error:
        match = re.match(r"flag --(config\.\S+?)=(.*?): ", str(error), re.DOTALL)
        if not match:
            raise ValueError(str(error)) from None
        name, value = match.groups()
        expected = grid.expected(FLAGS["config"].value, name.removeprefix("config."))
        raise ValueError(f"{name}={value}: expected {expected}") from None
    except flags.Error as error:
        raise ValueError(str(error)) from None
    wanted = 0 if argument is None else 1
    if len(positional) > wanted and not several:
        raise ValueError(f"{positional[wanted]}: unknown argument; flags begin with --")
    if len(positional) < wanted and not optional:
        raise ValueError(f"{argument}: it is missing; expected one, see --help")
    return positional
