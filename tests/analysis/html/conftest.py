"""One browser for all tests of the report's page, and a report to open in it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnv2_jax.analysis.claims import equivalent, greater
from mnv2_jax.analysis.report import analyse
from tests.analysis.html.browser import Browser, started

CLAIMS = (
    greater("linear", "section 6.4", "A linear projection wins", "projection", "linear", "relu6"),
    equivalent("plateau", "section 4", "All the same", "expansion", (6, 8, 10), 0.01),
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="session")
def report(workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("browsed") / "sweep"
    shutil.copytree(workdir, copy)
    analyse(copy, CLAIMS, title="digits", command="python -m experiments.ablate")
    return copy / "report.html"


@pytest.fixture
def page(browser: Browser, report: Path) -> Browser:
    """The report, freshly opened on a wide and light screen."""
    browser.prefer()
    browser.size(1280)
    browser.messages(), browser.requests()
    browser.open(report)
    return browser
