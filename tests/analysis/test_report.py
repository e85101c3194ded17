import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from mnv2_jax.analysis import page
from mnv2_jax.analysis.claims import equivalent, greater
from mnv2_jax.analysis.report import analyse
from tests.analysis.synthetic import make_frame, stop, write_workdir

NASTY = '<script>alert("x")</script> & $title'
CLAIMS = (
    greater("costs $5 & <more>", "Fig. 6a", NASTY, "projection", "linear", "relu6"),
    greater("between expansions", "Fig. 6b", "Not run.", "shortcut", "bottleneck", "expansion"),
    equivalent("plateau", "section 3.3", "All the same.", "expansion", (6, 8, 10), 0.01),
)
FIGURES = (
    "accuracy_over_expansion",
    "paired_differences",
    "accuracy_over_madds",
    "learning_curves",
)
FILES = [
    f"figures/{name}.{suffix}"
    for name in (*FIGURES, "accuracy_over_params", "paper_figure_6")
    for suffix in ("svg", "png")
]
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
    assert json.loads(text, parse_constant=refuse) == rows
    assert [row["verdict"] for row in rows] == ["supported", "inconclusive", "supported"]


def test_the_page_is_whole_and_asks_for_nothing(analysed: Path) -> None:
    html = (analysed / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    namespaces = r'xmlns(:\w+)?="http://www\.w3\.org/[^"]*"'
    assert not re.search(r"https?://|//cdn|@import", re.sub(namespaces, "", html))
    assert page.tags.count("svg") == len(FIGURES)
    assert len(page.ids) == len(set(page.ids))
    for target in page.targets:
        assert target == "data:," or (target[0] == "#" and target[1:] in page.ids)
    for target in re.findall(r"url\(#([^)]*)\)", html):
        assert target in page.ids


def test_what_others_wrote_is_escaped(analysed: Path) -> None:
    html = (analysed / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert") == 3  # title, heading, the first claim
    assert "--config=&lt;x&gt;" in html


def test_the_page_says_verdicts_and_what_is_missing(analysed: Path) -> None:
    html = (analysed / "report.html").read_text(encoding="utf-8")
    text = " ".join(" ".join(Page(html).text).split())
    assert "3 claims: 2 supported, 1 inconclusive." in text
    assert "144 runs: 142 done, 1 diverged, 1 failed." in text
    assert "Of 144 runs, 1 diverged and 1 failed." in text
    assert "70 of 72" in text
    assert "not measured" in text
    order = [html.index(f'id="{name}"') for name in ("verdicts", "figures", "accuracy", "runs")]
    assert order == sorted(order)
    runs = html[html.index('id="runs"') : html.index('id="environment"')]
    assert runs.count("<tr>") == 145


def test_figures_keep_their_text(analysed: Path) -> None:
    def words(name: str) -> str:
        root = ElementTree.fromstring((analysed / "figures" / f"{name}.svg").read_bytes())
        return " ".join("".join(root.itertext()).split())

    for name in ("accuracy_over_expansion", "accuracy_over_madds"):
        for text in ("Shortcut between bottlenecks", "No shortcut", "Linear", "ReLU6"):
            assert text in words(name)
    assert "costs $5 & <more>" in words("paired_differences")
    assert "supported" in words("paired_differences")
    assert "Averaged over expansion." in words("learning_curves")


def test_the_table_of_means_holds_the_means() -> None:
    frame = make_frame(expansions=(6,), seeds=2)
    frame.loc[frame["projection"] == "relu6", "test_accuracy"] = 0.25
    frame.loc[frame["projection"] == "linear", "test_accuracy"] = [0.5, 0.7, 0.8, 0.8]
    stop(frame, 3)
    figures = dict.fromkeys(FIGURES, "<svg></svg>")
    html = page.render(
        title="", command="", frame=frame, claims=[], figures=figures, environment={}
    )
    cells = re.findall(r'<td class="number">([^/]*)<', html[html.index('id="accuracy"') :])
    assert [cell.split("<")[0].strip() for cell in cells[:4]] == ["60.0", "25.0", "80.0", "25.0"]
    assert "± 14.1" in cells[0]
    assert "1 seed" in cells[2]


@pytest.mark.parametrize("rows", [0, 4], ids=["no run", "no run done"])
def test_a_sweep_without_results_still_makes_a_page(tmp_path: Path, rows: int) -> None:
    frame = make_frame(expansions=(6,), seeds=1).head(rows)
    for index in frame.index:
        stop(frame, index, "failed")
    decided = analyse(write_workdir(tmp_path, frame), CLAIMS, title="t", command="c")
    assert {row["verdict"] for row in decided} == {"inconclusive"}
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert Page(html).tags.count("svg") == len(FIGURES)
    assert "No run finished." in html


def test_the_table_of_means_keeps_blocks_apart() -> None:
    one = make_frame(expansions=(6,), projections=("linear",), shortcuts=("none",), seeds=2)
    other = one.assign(block="<fused>", test_accuracy=0.5)
    shown = Page(page._accuracy(pd.concat([one, other], ignore_index=True)))
    text = " ".join(" ".join(shown.text).split())
    assert "Block, expansion" in text
    assert "<fused>, 6 50.0 ± 0.0" in text
    assert "inverted_residual, 6 " in text
