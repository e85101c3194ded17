"""Experiments run as a user runs them."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from mnv2_jax.analysis import report

ROOT = Path(__file__).parent.parent

SECONDS = 240.0
"""How long a command may take."""


def forks() -> ForkServerContext:
    """Return a context whose processes have imported the library, but not used jax."""
    context = multiprocessing.get_context("forkserver")
    # No command: each defines flags when it is imported, some of them the same.
    own = ["tests.victim", "mnv2_jax.analysis.report", "mnv2_jax.api", "mnv2_jax.config_file"]
    # Imported where they are first needed.
    late = [
        *(
            "scipy.optimize",
            "tensorboardX",
            "tensorflow_datasets",
            "grain",
            "pyarrow.pandas_compat",
        ),
        "jaxlib.mlir.dialects.mhlo",
    ]
    context.set_forkserver_preload([*own, *late])
    return context


def run(experiment: str, *arguments: object, charts: bool = False) -> tuple[int, str, str]:
    """Do what `python -m experiments.EXPERIMENT` does; return exit status, stdout, stderr.

    Reports have charts only if asked for: drawing them takes a third of a small experiment's time.
    """
    (ended,) = run_side_by_side([(experiment, *arguments)], charts=charts)
    return ended


def run_side_by_side(
    each: Iterable[Sequence[object]], *, charts: bool = False
) -> list[tuple[int, str, str]]:
    """Do so for several at once, each in the environment of the moment when it is begun."""
    with tempfile.TemporaryDirectory() as folder:
        begun = []
        for number, its in enumerate(each):
            texts = Path(folder, f"out{number}"), Path(folder, f"err{number}")
            begun.append((begin(*texts, *its, charts=charts), its, *texts))
        ended = []
        for process, its, out, err in begun:
            process.join(SECONDS)
            if process.exitcode is None:
                process.kill()
                raise TimeoutError(f"{its}: {err.read_text()}")
            ended.append((process.exitcode, out.read_text(), err.read_text()))
        return ended


def begin(
    out: Path, err: Path, experiment: object, *arguments: object, charts: bool = False
) -> ForkServerProcess:
    """Begin what `run` does in a forked process, to be killed or signalled."""
    its = (str(experiment), list(map(str, arguments)), dict(os.environ), out, err, charts)
    process = forks().Process(target=_main, args=its)
    process.start()
    return process


def wait_for(text: str, path: Path, process: ForkServerProcess) -> str:
    """Wait until a command has printed a text to a file; return all that it has printed."""
    until = time.monotonic() + SECONDS
    while not path.exists() or text not in path.read_text():
        assert process.is_alive(), f"it ended without {text!r}"
        assert time.monotonic() < until, path.read_text()
        time.sleep(0.01)
    return path.read_text()


def start(experiment: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start `python -m experiments.EXPERIMENT`, which imports everything itself."""
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{experiment}", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_in(folder: Path, experiment: str, *arguments: object) -> tuple[int, str, str]:
    """Run `python -m experiments.EXPERIMENT` in another checkout."""
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{experiment}", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout, done.stderr


def _main(
    experiment: str,
    arguments: list[str],
    environment: dict[str, str],
    out: Path,
    err: Path,
    charts: bool,
) -> None:
    if not charts:
        report.make_charts = lambda *arguments: {}
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    for path, descriptor in ((out, 1), (err, 2)):
        with path.open("w") as file:
            os.dup2(file.fileno(), descriptor)
    sys.argv = ["", *arguments]
    runpy.run_module(f"experiments.{experiment}", run_name="__main__", alter_sys=True)
