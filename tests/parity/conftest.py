"""Peers, imported if they are installed, and the figures of the comparisons."""

import importlib.util
import os
import warnings
from pathlib import Path

import pytest


def pytest_terminal_summary(terminalreporter):
    outcomes = (terminalreporter.stats.get(outcome, []) for outcome in ("passed", "failed"))
    figures = [
        f"{report.nodeid.rpartition('::')[2]}: {what} {value:.3g}"
        for reports in outcomes
        for report in reports
        for what, value in report.user_properties
    ]
    if figures:
        terminalreporter.section("parity")
        for line in figures:
            terminalreporter.write_line(line)


@pytest.fixture
def report(record_property):
    """Records a figure with the test and for the end of the session's output."""

    def report(what, value):
        record_property(what, float(value))  # Which comes whole from another process.
        return value

    return report


def imported(name):
    """A peer, or a skipped test that says why."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What they warn of on import is theirs.
            return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        pytest.skip(f"{name} cannot be imported ({reason}): make parity")


@pytest.fixture(scope="session")
def keras():
    os.environ["KERAS_BACKEND"] = "jax"
    return imported("keras")


@pytest.fixture(scope="session")
def torch():
    torch = imported("torch")
    # Its threads wait busily, which slows down jax's and other processes.
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def torchvision_models(torch):
    operators = missing_operators(torch)  # They last as long as this is kept.
    yield imported("torchvision.models")
    del operators


def missing_operators(torch):
    """Declare two operators that torchvision's import needs, if they are missing.

    Its releases are compiled for GPUs and do not load beside a CPU build of PyTorch. No network
    here uses these operators.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return None
    try:
        for library in Path(found.origin).parent.glob("_C.*"):
            torch.ops.load_library(library)
    except (ImportError, OSError):
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        return operators
    return None


@pytest.fixture(scope="session")
def timm(torchvision_models):
    return imported("timm")
