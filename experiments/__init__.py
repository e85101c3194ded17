"""Entry points: `python -m experiments.NAME --help`."""

import os
import signal
import sys


def interrupted(*_: object) -> None:
    """What SIGINT does until the experiment has been imported, which takes seconds."""
    os.write(2, b"interrupted; run it again to go on\n")
    os._exit(128 + signal.SIGINT)


def _begin() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)
    # A descriptor that is closed would be that of the next file that is opened.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    # Nothing is drawn on a screen, and matplotlib cannot be imported where that of a notebook,
    # which processes started there inherit, is not installed.
    os.environ["MPLBACKEND"] = "agg"


if sys.argv[0] == "-m":  # Python is about to run a module of this package.
    _begin()
