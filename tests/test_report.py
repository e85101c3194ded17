"""The report that is written again from records."""

import json
import shutil

import pytest

from mnv2_jax.ablation import plans
from mnv2_jax.analysis.verdicts import read_decided
from mnv2_jax.api import Results
from tests import commands

pytestmark = pytest.mark.slow

RESULTS = commands.ROOT / "experiments" / "results"


def copy_of(name, tmp_path):
    folder = tmp_path / name
    shutil.copytree(RESULTS / name, folder, ignore=shutil.ignore_patterns("figures"))
    return folder


def test_committed_results_get_a_report_with_their_claims(tmp_path):
    folder = copy_of("transfer", tmp_path)
    before = read_decided(folder)
    plans.keep(folder, {"name": "transfer", "title": "A title", "command": "c", "cohorts": []})
    status, out, err = commands.run("report", f"--workdir={folder}", charts=True)
    assert (status, out, err) == (0, f"{folder}/report.html\n", "")
    for row, old in zip(read_decided(folder), before, strict=True):
        for key in ("name", "verdict", "pairs", "claim"):
            assert row[key] == old[key]
        assert row["estimate"] == pytest.approx(old["estimate"])
        # By stated.json, which knows a claim by a hash of all its fields.
        assert row["stated"]["finished"] == 0
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h1>A title <small>transfer</small></h1>" in html
    assert "Fine-tuning beats feature extraction, by <span" in html
    assert "Data set: digits." in html
    assert (folder / "figures" / "effects.svg").is_file()


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lambda row: row.pop("claim"), id="of an earlier version"),
        pytest.param(lambda row: row.update(kind="mine"), id="of a kind from elsewhere"),
        pytest.param(lambda row: row["claim"]["where"].update(old=1), id="on a renamed column"),
    ],
)
def test_claims_that_cannot_be_decided_anew_stay_as_they_were(tmp_path, monkeypatch, lose):
    monkeypatch.setattr("mnv2_jax.analysis.report.make_charts", lambda *_: {})
    folder = copy_of("blocks", tmp_path)
    rows = read_decided(folder)
    lose(rows[1])
    (folder / "claims.json").write_text(json.dumps(rows))
    assert Results.open(folder).report() == folder / "report.html"
    assert read_decided(folder) == rows
    assert "<h1>blocks </h1>" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_folder_without_records_of_runs_tells_where_its_results_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr("mnv2_jax.analysis.report.make_charts", lambda *_: {})
    folder = copy_of("digits_factorial", tmp_path)
    Results.open(folder).report()
    html = (folder / "report.html").read_text(encoding="utf-8")
    environment = json.loads((folder / "environment.json").read_text())
    assert f"Check out commit <code>{environment['commit']}</code> first." in html
    assert f"<code>{environment['command']}</code>" in html
    assert "This folder has no records of single runs." in html
    assert "lie under <code>runs/</code>" not in html


def test_results_without_claims_get_a_report_too(tmp_path, monkeypatch):
    monkeypatch.setattr("mnv2_jax.analysis.report.make_charts", lambda *_: {})
    folder = copy_of("transfer_clip", tmp_path)
    Results.open(folder).report()
    assert "No claim was put to the test." in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "it holds no results.csv; expected a folder that a sweep wrote"),
        ({}, "it holds no results.csv; expected a folder that a sweep wrote"),
        ({"claims.json": "[{}]"}, "it is damaged"),
        ({"claims.json": "{"}, "it is damaged"),
    ],
)
def test_a_folder_without_results_is_refused_in_a_line(tmp_path, files, message):
    folder = tmp_path / "work"
    if files is not None:
        folder.mkdir()
    if files:
        shutil.copy(RESULTS / "blocks" / "results.csv", folder)
        for name, text in files.items():
            (folder / name).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    status, out, err = commands.run("report", f"--workdir={folder}")
    assert (status, out) == (2, "")
    assert err.startswith("python -m experiments.report: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name[0] != "."] == before
