"""A report is drawn again where something that it shows may have changed, and only there."""

import dataclasses
import logging
from typing import Any

import pytest

from mnv2_jax.analysis import verdicts
from mnv2_jax.analysis.claims import Claim, greater
from mnv2_jax.api import report

CLAIM = greater("linear", "a paper", "Linear beats ReLU6", "model.projection", "linear", "relu6")
CALL: dict[str, Any] = {
    "claims": [CLAIM],
    "title": "digits",
    "command": "python -m experiments.ablate",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(Claim):
    kind = "own"

    def decide(self, runs):
        raise NotImplementedError


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A folder whose report was written once, by a stand-in for the slow part."""

    def analyse(workdir, claims, *, title, name, command):
        decided = [{"name": claim.name} for claim in claims]
        verdicts.write_decided(workdir, decided)
        (workdir / "figures").mkdir(exist_ok=True)
        (workdir / "figures/accuracy.svg").write_text("<svg>")
        (workdir / "report.html").write_text("<html>")
        return decided

    monkeypatch.setattr(report, "analyse", analyse)
    run = tmp_path / "runs/0123"
    run.mkdir(parents=True)
    for path in (tmp_path / "results.csv", run / "config.json", run / "metrics.jsonl"):
        path.write_text("{}")
    assert report.write_report(tmp_path, **CALL) == ([{"name": "linear"}], True)
    return tmp_path


def is_drawn_again(workdir, **changes):
    decided, drawn = report.write_report(workdir, **CALL | changes)
    assert decided == [{"name": claim.name} for claim in (CALL | changes)["claims"]]
    return drawn


def test_what_is_up_to_date_is_not_drawn_again(workdir):
    (workdir / "runs/.0123.tmp").mkdir()
    (workdir / "training").mkdir()
    (workdir / "training/sign.json").write_text("{}")
    (workdir / "figures/expansion.svg").write_text("<svg>")  # By experiments.plot.
    assert not is_drawn_again(workdir)


@pytest.mark.parametrize(
    "name",
    [
        *("results.csv", "columns.json", "stated.json", "evaluations/noise.csv", "report.json"),
        *("runs/0123/config.json", "runs/0123/metrics.jsonl", "runs/0123/environment.json"),
        *("report.html", "claims.json", "figures/accuracy.svg"),
    ],
)
def test_a_change_to_what_it_is_made_of_or_to_itself_draws_it_again(workdir, name):
    path = workdir / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("changed")
    assert is_drawn_again(workdir)
    assert not is_drawn_again(workdir)
    path.unlink()
    assert is_drawn_again(workdir)


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "other"},
        {"name": "other"},
        {"command": "other"},
        {"claims": []},
        {"claims": [dataclasses.replace(CLAIM, statement="Not so")]},
    ],
)
def test_another_title_command_or_claim_draws_it_again(workdir, changes):
    assert is_drawn_again(workdir, **changes)
    assert not is_drawn_again(workdir, **changes)


def test_other_code_draws_it_again(workdir, monkeypatch):
    assert {"numpy", "api/report.py", "analysis/html/web/report.html"} <= report._code().keys()
    monkeypatch.setattr(report, "_code", lambda: {"numpy": "another"})
    assert is_drawn_again(workdir)


def test_a_claim_of_ones_own_class_is_always_decided_again(workdir):
    own = Own(name="own", source="here", statement="It is so")
    for _ in range(2):
        assert is_drawn_again(workdir, claims=[own])


def test_a_figure_that_could_not_be_drawn_is_tried_again(workdir, monkeypatch, caplog):
    analyse = report.analyse

    def failing(*arguments, **options):
        logging.getLogger("mnv2_jax.analysis.charts").warning("figure a: cannot be drawn: no")
        return analyse(*arguments, **options)

    monkeypatch.setattr(report, "analyse", failing)
    for _ in range(2):
        assert is_drawn_again(workdir, title="other")
    assert len(caplog.records) == 2
    monkeypatch.setattr(report, "analyse", analyse)
    assert is_drawn_again(workdir, title="other")
    assert not is_drawn_again(workdir, title="other")
