"""The notebook is executed as a reader does it: a fresh kernel, from its folder, without flags.

Only its training is shorter, and its runs are written elsewhere.
"""

import json
import shutil

import nbformat
import pytest
from nbclient import NotebookClient

from tests import commands

pytestmark = pytest.mark.slow

PATH = commands.ROOT / "docs" / "tutorials" / "first_ablation.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A copy of the notebook after all of its cells ran."""
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    workdir = tmp_path_factory.mktemp("notebook") / "runs"
    for old, new in (
        ('"runs/first_ablation"', json.dumps(str(workdir))),
        ("config.train.epochs = 5", "config.train.epochs = 1"),
    ):
        assert any(old in cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)
    NotebookClient(
        notebook,
        timeout=commands.SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(PATH.parent)}},
    ).execute()
    yield notebook
    shutil.rmtree(workdir)


def output_of(notebook, start):
    """What the first cell of which a line starts so shows, by type of content; what it prints."""
    cell = next(
        cell
        for cell in notebook.cells
        if any(line.startswith(start) for line in cell.source.splitlines())
    )
    shown = [one.data for one in cell.outputs if one.output_type == "execute_result"]
    printed = "".join(one.text for one in cell.outputs if one.output_type == "stream")
    return (shown or [{}])[0], printed


def test_committed_results_are_shown(executed):
    table, _ = output_of(executed, "committed.frame")
    assert "test_accuracy" in table["text/html"]
    figure, _ = output_of(executed, "committed.plot")
    assert len(figure["image/png"]) > 10_000


def test_a_grid_is_planned_trained_decided_and_reported(executed):
    plan, _ = output_of(executed, "experiment.plan()")
    assert plan["text/html"].count("<tr") == 9
    _, printed = output_of(executed, "results = experiment.run")
    assert "8 runs trained, 0 failed" in printed
    figure, _ = output_of(executed, "results.plot")
    assert len(figure["image/png"]) > 10_000
    decided, _ = output_of(executed, "results.decide")
    assert "linear" in decided["text/html"]
    report, _ = output_of(executed, "results.report")
    assert "report.html" in report["text/plain"]


def test_a_network_tells_digits(executed):
    shown, _ = output_of(executed, "network.predict")
    assert "array([0, 1, 2, 3, 4])" in shown["text/plain"]


def test_it_is_committed_without_outputs():
    notebook = nbformat.read(PATH, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert all(cell.get("execution_count") is None for cell in notebook.cells)
