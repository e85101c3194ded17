"""The section on bottlenecks: numbers, words, and none without measures."""

import re
from math import nan

from mnv2_jax.analysis import report
from mnv2_jax.analysis.associations import Association
from mnv2_jax.analysis.html import why
from mnv2_jax.analysis.means import Interval
from mnv2_jax.schema import Column
from tests.analysis.blocks import ACTIVE, write_blocks
from tests.analysis.synthetic import make_frame, write_workdir

HOSTILE = Column("t/x", "number", "measure", "<b>, least, t", "%", 1)


def test_associations_are_told_with_intervals_and_without_causes():
    frame = make_frame(expansions=(6,), seeds=3)
    found = [
        Association(ACTIVE, Interval(0.5, -0.125, 1.0), Interval(0.25, -0.5, 0.75), 12, 3),
        Association(HOSTILE, Interval(-0.25, nan, nan), Interval(nan, nan, nan), 6, 1),
    ]
    html = why.section(frame, "test accuracy", {"bottlenecks": "FIGURE"}, {"bottlenecks": found})
    assert '<h2 id="why-title">Why</h2>\nFIGURE' in html
    assert "Rank correlation with test accuracy" in html
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    cells = [re.findall(r'<td class="number">(.*?)</td>', row) for _, row in rows]
    assert cells == [
        ["+0.50", "[−0.12, +1.00]", "+0.25", "[−0.50, +0.75]", "12"],
        ["−0.25", "", "", "", "6"],
    ]
    assert [label for label, _ in rows] == ["Active channels", "&lt;b&gt;, least"]
    assert "An association, not a cause" in html
    assert "projection and shortcut, which may move both; within cells, runs differ in" in html
    assert "Intervals resample 3 seeds, each with all of its runs. With so few seeds" in html
    assert why.section(frame, "test accuracy", {}, {}) == ""
    assert "No measure of bottlenecks differs" in why.section(frame, "", {}, {"bottlenecks": []})


def test_the_report_has_the_section_where_bottlenecks_were_measured(tmp_path):
    frame = make_frame(expansions=(6,), seeds=6)
    workdir = write_workdir(tmp_path / "work", frame)
    report.analyse(workdir, (), title="t", command="c")
    assert 'href="#why"' not in (workdir / "report.html").read_text()
    write_blocks(workdir, frame)
    report.analyse(workdir, (), title="t", command="c")
    html = (workdir / "report.html").read_text()
    section = html[html.index('<section id="why"') : html.index('<section id="accuracy"')]
    assert 'href="#why"' in html
    assert 'id="chart-bottlenecks"' in section
    assert html.count('id="chart-bottlenecks"') == 1
    assert "Intervals resample 6 seeds, each with all of its runs.</p>" in section
    assert (workdir / "figures" / "bottlenecks.png").stat().st_size > 10_000
    # Its own note tells its images, which are no test images.
    caption = section[section.index("<figcaption>") : section.index("</figcaption>")]
    assert "Measured on validation images" in caption
    assert "Data set" not in caption
