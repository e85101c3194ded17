"""Entry points: `python -m experiments.NAME --help`."""

import os
import signal
import sys


def interrupted(*_: object) -> None:
    """End at SIGINT until the experiment has been imported, which takes seconds."""
    os.write(2, b"interrupted; run it again to go on\n")
    os._exit(128 + signal.SIGINT)


def _tell_of_jax(kind: type[BaseException], error: BaseException, _: object) -> None:
    """Say in a line which variable of the environment jax refuses, as it does when imported."""
    import re

    found = re.search(r"(?:JAX flag |environment ')(jax_\w+)", str(error), re.IGNORECASE)
    variable = found[1].upper() if found and kind is ValueError else ""
    if variable not in os.environ:
        sys.__excepthook__(kind, error, error.__traceback__)
        return
    right = "true or false" if "truth value" in str(error) else "a value that jax knows"
    line = f"{variable}={os.environ[variable]}: expected {right}, or the variable unset\n"
    os.write(2, line.encode(errors="backslashreplace"))
    os._exit(2)


def _begin() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)
    sys.excepthook = _tell_of_jax
    import logging  # Takes milliseconds, in which none of the above would hold.
    from pathlib import Path

    # A descriptor that is closed would be that of the next file that is opened.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    logging.basicConfig(format="%(message)s")  # As it is until a library sets another one.
    # Libraries want a home as they are imported.
    try:
        Path.home()
    except RuntimeError:  # See `mnv2_jax.cache`, which says so where there is neither.
        if "XDG_CACHE_HOME" in os.environ:
            os.environ["HOME"] = os.environ["XDG_CACHE_HOME"]


if sys.argv[0] == "-m":  # Python is about to run a module of this package.
    _begin()
