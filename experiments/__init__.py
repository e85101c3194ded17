"""Entry points: `python -m experiments.NAME --help`."""

import os
import signal
import sys


def interrupted(*_: object) -> None:
    """Exit at SIGINT while the command is being imported, which takes seconds."""
    os.write(2, b"interrupted; run it again to go on\n")
    os._exit(128 + signal.SIGINT)


def _print_refused_variable(kind: type[BaseException], error: BaseException, _: object) -> None:
    """Print one line for an environment variable that jax refuses while it is imported."""
    import re

    match = re.search(r"(?:JAX flag |environment ')(jax_\w+)", str(error), re.IGNORECASE)
    variable = match[1].upper() if match and kind is ValueError else ""
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
    sys.excepthook = _print_refused_variable
    import logging  # Imported after the handlers above are set.
    from pathlib import Path

    # The next file that is opened would get the number of a closed descriptor.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    logging.basicConfig(format="%(message)s")  # Before a library sets another format.
    # Libraries look for the home folder when they are imported.
    try:
        Path.home()
    except RuntimeError:  # `mnv2_jax.cache` reports it if there is neither.
        if "XDG_CACHE_HOME" in os.environ:
            os.environ["HOME"] = os.environ["XDG_CACHE_HOME"]


if sys.argv[0] == "-m":  # Set by Python before `python -m` imports the module to run.
    _begin()
