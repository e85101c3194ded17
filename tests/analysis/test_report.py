import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mnv2_jax.analysis import report, stated
from mnv2_jax.analysis.charts.chart import Chart
from mnv2_jax.analysis.claims import Claim, equivalent, greater
from mnv2_jax.analysis.report import analyse
from mnv2_jax.analysis.verdicts import read_decided
from tests.analysis.html.browser import CHARTS as FIGURES
from tests.analysis.synthetic import make_frame, stop, write_workdir

NASTY = '<script>alert("x")</script> & $title'
CLAIMS = (
    greater("costs $5 & <more>", "Fig. 6a", NASTY, "projection", "linear", "relu6"),
    greater("between expansions", "Fig. 6b", "Not run.", "shortcut", "bottleneck", "expansion"),
    equivalent("plateau", "section 3.3", "All the same.", "expansion", (6, 8, 10), 0.01),
)
CHARTS = ("paired_differences", *FIGURES, "accuracy_over_params")
FILES = [f"figures/{name}.{suffix}" for name in CHARTS for suffix in ("svg", "png")]
LINKS = {"results.csv", "claims.json", "figures/", "data:,"}
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects what tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.targets += [
            value or "" for name, value in attrs if name in ("href", "xlink:href", "src")
        ]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def embedded(html: str) -> dict[str, Any]:
    """What the page's script reads."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html)
    return json.loads(text)


@pytest.fixture(scope="module")
def analysed(workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("analysed") / "sweep"
    shutil.copytree(workdir, copy)
    analyse(copy, CLAIMS, title=NASTY, command="python -m experiments.ablate --config=<x>")
    return copy


def test_analyse_writes_its_files_and_nothing_else(analysed: Path, workdir: Path) -> None:
    before = {path.relative_to(workdir) for path in workdir.rglob("*")}
    after = {path.relative_to(analysed) for path in analysed.rglob("*")}
    new = {"claims.json", "report.html", "figures", *FILES}
    assert after - before == {Path(name) for name in new}
    assert before <= after


def test_analysing_again_gives_the_same_bytes_and_the_claims(analysed: Path) -> None:
    names = ["claims.json", "report.html", *FILES]
    before = [(analysed / name).read_bytes() for name in names]
    rows = analyse(
        analysed, CLAIMS, title=NASTY, command="python -m experiments.ablate --config=<x>"
    )
    assert [(analysed / name).read_bytes() for name in names] == before

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    text = (analysed / "claims.json").read_text()
    assert json.loads(text, parse_constant=refuse)["claims"] == rows == read_decided(analysed)
    assert [row["verdict"] for row in rows] == ["supported", "inconclusive", "supported"]


def test_the_page_is_whole_and_asks_for_nothing(analysed: Path) -> None:
    html = (analysed / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    namespaces = r'xmlns(:\w+)?="http://www\.w3\.org/[^"]*"'
    # Vega's script names addresses in messages; that none is asked for is seen in a browser.
    own = "".join(re.split(r"<script>.*?</script>", html, flags=re.DOTALL))
    assert not re.search(r"https?://|//cdn|@import", re.sub(namespaces, "", own))
    assert [name for name in page.ids if name.startswith("chart-")] == [
        f"chart-{name}" for name in FIGURES
    ]
    assert len(page.ids) == len(set(page.ids))
    for target in page.targets:
        assert target in LINKS or (target[0] == "#" and target[1:] in page.ids)


def test_what_others_wrote_is_escaped(analysed: Path) -> None:
    html = (analysed / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert") == 3  # title, heading, the first claim
    (effects,) = (
        one["spec"] for name, one in embedded(html)["charts"].items() if name == "effects"
    )
    assert " ".join(effects["concat"][0]["title"]) == f"Supported: {NASTY}"
    assert "--config=&lt;x&gt;" in html


def test_the_page_says_verdicts_and_what_is_missing(analysed: Path) -> None:
    html = (analysed / "report.html").read_text(encoding="utf-8")
    text = " ".join(" ".join(Page(html).text).split())
    assert "3 claims: 2 supported, 1 inconclusive." in text
    assert "144 runs: 142 done, 1 diverged, 1 failed." in text
    assert "Of 144 runs, 1 diverged and 1 failed." in text
    assert "70 of 72" in text
    assert "not measured" in text
    sections = ("verdicts", "charts", "accuracy", "runs", "environment", "reproduce", "reading")
    order = [html.index(f'id="{name}"') for name in sections]
    assert order == sorted(order)
    assert len(embedded(html)["runs"]["run_id"]) == 144


@pytest.mark.parametrize("rows", [0, 4], ids=["no run", "no run done"])
def test_a_sweep_without_results_still_makes_a_page(tmp_path: Path, rows: int) -> None:
    frame = make_frame(expansions=(6,), seeds=1).head(rows)
    for index in frame.index:
        stop(frame, index, "failed")
    decided = analyse(write_workdir(tmp_path, frame), CLAIMS, title="t", command="c")
    assert {row["verdict"] for row in decided} == {"inconclusive"}
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not [name for name in Page(html).ids if name.startswith("chart-")]
    assert "No run finished." in html


def test_figures_that_cannot_be_written_cost_neither_claims_nor_report(
    tmp_path, monkeypatch, caplog
):
    def fail(*_):
        raise RuntimeError("no ink")

    workdir = write_workdir(tmp_path, make_frame(expansions=(6,), seeds=1))
    monkeypatch.setattr(Chart, "svg", fail)
    rows = analyse(workdir, CLAIMS, title="t", command="c")
    assert read_decided(workdir) == rows
    assert "</html>" in (workdir / "report.html").read_text(encoding="utf-8")
    assert not (workdir / "figures").exists()
    messages = [record.getMessage() for record in caplog.records]
    assert "figure learning_curves: cannot be drawn: no ink" in messages


def test_claims_that_are_gone_are_told_beside_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "make_charts", lambda *arguments: {})
    linear = greater("linear", "", "Linear is better.", "projection", "linear", "relu6")
    unclear = greater("absent", "", "Not run.", "shortcut", "bottleneck", "expansion")
    write_workdir(tmp_path, make_frame())
    stated.note(tmp_path, [linear, unclear], {"config": "a.py"}, finished=0)

    def notes(*claims: Claim) -> list[bool]:
        rows = analyse(tmp_path, claims, title="", command="")
        return ["1 more claim was stated in this folder" in " ".join(row["notes"]) for row in rows]

    assert notes(linear, unclear) == [False, False]
    assert notes(linear) == [True]
    assert notes(unclear) == [False]  # It has no verdict.


def test_a_report_without_test_images_is_about_validation_images(tmp_path: Path) -> None:
    frame = make_frame((1, 6), seeds=3)
    write_workdir(tmp_path, frame)
    untested = frame.drop(columns="test_loss").assign(validation_images=64)
    untested.assign(test_accuracy=float("nan")).to_csv(tmp_path / "results.csv", index=False)
    claim = greater("l", "s", "Linear.", "projection", "linear", "relu6")
    measured = replace(claim, name="v", metric="validation_accuracy")
    decided = analyse(tmp_path, (claim, measured), title="t", command="c")
    assert [row["verdict"] for row in decided] == ["inconclusive", "supported"]
    html = (tmp_path / "report.html").read_text()
    data = embedded(html)
    assert data["runs"]["validation_accuracy"][0] is not None
    assert "Mean validation accuracy" in html
    assert "Mean test accuracy" not in html
    assert "digits, 64 validation images" in html
    for name in ("accuracy_over_expansion", "accuracy_over_params", "heatmap"):
        assert name in data["charts"]
        assert (tmp_path / "figures" / f"{name}.svg").is_file()


def test_notes_name_the_data_set_and_its_test_images() -> None:
    frame = make_frame(expansions=(6,), shortcuts=("none",), seeds=2)
    other = frame.assign(dataset="cifar10", run_id=[f"c{number}" for number in range(len(frame))])
    ids = frame["run_id"].tolist()

    def note(runs: pd.DataFrame, **counts: int) -> str:
        known = runs["run_id"].map(counts)
        charts = report._noted(
            {"a": Chart("", {}, [], notes=["First."])}, runs.assign(test_images=known)
        )
        first, last = charts["a"].notes
        assert first == "First."
        return last

    assert note(frame) == "Data set: digits."
    assert note(frame, **{ids[0]: 1500}) == "Data set: digits, 1,500 test images."
    assert note(frame, **{ids[0]: 500, ids[1]: 400}) == "Data set: digits, 400 or 500 test images."
    both = pd.concat([frame, other], ignore_index=True)
    assert note(both, c1=10_000) == "Data sets: digits; cifar10, 10,000 test images."
    # Pretraining is tested on other classes.
    phases = ["pretraining", *["scratch"] * (len(frame) - 1)]
    transfer = frame.assign(**{"transfer.phase": phases})
    assert note(transfer, **{ids[0]: 9, ids[1]: 7}) == "Data set: digits, 7 test images."
