"""The section on side tables: numbers, words, and none without any."""

import re
from math import nan

from mnv2_jax.analysis import report
from mnv2_jax.analysis.claims import greater
from mnv2_jax.analysis.evaluated import Evaluated, Measured
from mnv2_jax.analysis.html import evaluations
from mnv2_jax.analysis.means import Interval
from mnv2_jax.schema import Column
from tests.analysis.blocks import write_blocks
from tests.analysis.evaluations import COLUMNS, DROP, NAME, write_evaluations
from tests.analysis.synthetic import make_frame, write_workdir

ABOUT = {
    **{"evaluator": "my.py:<f>", "split": "test", "data": "", "device": "cpu x 2"},
    **{"commit": "dd14493b02e20f2b0b438c6a96a975493cfe4205", "dirty": True},
}
HOSTILE = Column("t/x", "number", "measure", "<b>, t", "", 2)


def table(**fields) -> Evaluated:
    measures = [
        Measured(COLUMNS[DROP], Interval(0.1234, -0.01, 0.2), [-0.0001, nan]),
        Measured(HOSTILE, Interval(1234.5, nan, nan), [1, 2]),
    ]
    made = Evaluated(
        NAME, ABOUT, "digits", True, 144, 6, True, 0, "expansion", (1.0, 6.0), measures
    )
    return made._replace(**fields)


def words(**fields) -> str:
    found = re.search(r'<p class="about">(.*?)</p>', evaluations.section([table(**fields)]))
    assert found
    return found[1]


def test_a_row_is_a_measure_with_its_interval_and_the_means_by_an_axis():
    html = evaluations.section([table()])
    head, *rows = re.findall(r"<tr>(.*?)</tr>", html)
    names = ["Measure", "Mean", "95&nbsp;% interval", "Expansion 1", "Expansion 6"]
    assert re.findall(r"<th[^>]*>(.*?)</th>", head) == names
    assert [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows] == [
        ["Drop, w4a4 (%)", "12.3", "[−1.0, 20.0]", "0.0", ""],
        ["&lt;b&gt;", "1,234.50", "", "1.00", "2.00"],
    ]
    assert "<h3>test_precision</h3>" in html
    assert '<div class="scroll" ' in html
    assert '<div class="scroll tall" ' in evaluations.section(
        [table(measures=[*table().measures] * 13)]
    )
    assert "<h3>test_precision, digits</h3>" in evaluations.section([table(is_only=False)])
    assert evaluations.section([]) == ""


def test_a_line_tells_what_a_table_is_of():
    assert words() == (
        "Evaluator my.py:&lt;f&gt;, test images of digits, 144 runs, cpu x 2, commit dd14493b02e2 "
        "with uncommitted changes. Intervals are over 6 seeds, whose runs are averaged first."
    )
    assert words(about={}, seeds=1) == "Evaluator unknown, digits, 144 runs."
    assert "all images of new_photos/," in words(about={"data": "new_photos/", "split": "all"})
    assert words(is_whole=False).endswith(" Means are of seeds that all averaged runs have.")
    assert words(anew=1).endswith(" 1 run was trained anew since, and left out.")
    assert words(anew=2).endswith(" 2 runs were trained anew since, and left out.")


def test_the_report_has_the_section_where_there_are_side_tables(tmp_path):
    frame = make_frame(expansions=(6,), seeds=2)
    workdir = write_workdir(tmp_path / "work", frame)
    write_blocks(workdir, frame)
    report.analyse(workdir, (), title="t", command="c")
    # Bottlenecks have the section Why.
    assert "evaluations" not in re.sub("<style>.*?</style>", "", html_of(workdir), flags=re.DOTALL)
    write_evaluations(workdir, frame)
    claim = greater("c", "s", "w", "shortcut", "bottleneck", "none", metric=DROP)
    report.analyse(workdir, [claim], title="t", command="c")
    html = html_of(workdir)
    assert '<a href="#evaluations">Evaluations</a>' in html
    section = html[html.index('<section id="evaluations"') : html.index('<section id="runs"')]
    assert re.findall("<h3>(.*?)</h3>", section) == [NAME]
    assert "Shortcut between bottlenecks</th>" in section


def html_of(workdir) -> str:
    return (workdir / "report.html").read_text()
