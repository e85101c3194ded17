"""The report in a real browser: what it draws, and that it asks for nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.keys import Keys

from mnv2_jax.analysis.claims import greater
from mnv2_jax.analysis.report import analyse
from tests.analysis.html.browser import (
    CHARTS,
    MARKS,
    Browser,
    eventually,
    marks,
    rows,
    shown,
    untick,
)
from tests.analysis.synthetic import make_frame, write_workdir

pytestmark = pytest.mark.slow

HOSTILE = '</script><img src=x onerror="document.title=1"><!--<script>document.title=2</script>'
# What stands in the place of charts that are empty.
TOLD = """
return [...document.querySelectorAll("figure > p")].filter((words) => !words.hidden).map((words) =>
  words.nextElementSibling.clientHeight === 0 && words.textContent);
"""

# The texts of a chart that are drawn, each line of its own.
TEXTS = """
return [...document.querySelectorAll(`#chart-${arguments[0]} svg text`)].flatMap((text) =>
  text.children.length ? [...text.children].map((line) => line.textContent) : [text.textContent]);
"""

# A run whose point nothing covers, and where it lies.
POINT = """
const chart = document.getElementById("chart-accuracy_over_expansion");
chart.scrollIntoView({ block: "center", behavior: "instant" });
for (const path of chart.querySelectorAll("path")) {
  const box = path.getBoundingClientRect();
  const [x, y] = [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)];
  const run = runOf(report.charts.accuracy_over_expansion, path.__data__?.datum);
  const free = document.elementFromPoint(x, y) === path;
  if (run !== undefined && free) return [report.runs.run_id[run], x, y];
}
"""


def test_it_draws_its_charts_and_asks_for_nothing(page: Browser, report: Path) -> None:
    assert page.messages() == []
    assert set(page.requests()) <= {report.as_uri(), "data:,"}
    for name in CHARTS[1:3]:
        assert len(marks(page, "point", name)) == 142
        assert len(marks(page, "mean", name)) == 24
    assert all(page.run(MARKS, name) for name in CHARTS)
    assert page.run("return document.querySelectorAll('.chart svg').length") == len(CHARTS)


def test_a_filter_changes_charts_and_table(page: Browser) -> None:
    assert shown(page) == "All 144 runs"
    untick(page, "ReLU6")
    page.press(Keys.ENTER)  # submits nothing
    untick(page, "4")
    assert shown(page) == "60 of 144 runs"
    assert set(rows(page, 2)) == {"linear"}
    # One of them diverged, another failed: the table has them, charts do not.
    eventually(lambda: len(marks(page, "point")) == 58)
    assert {mark["hue"] for mark in page.run(MARKS, CHARTS[1])} == {"Linear"}
    assert len(marks(page, "mean")) == 10
    assert len(page.run(MARKS, "effects"))  # claims are decided on all runs
    # The front is of all networks, and so are the mean curves of all expansions.
    assert marks(page, "front", "accuracy_over_madds") == []
    assert page.run(MARKS, "learning_curves") == []
    assert page.run(TOLD) == ["No mean of this chart is of the chosen runs alone."] * 2
    untick(page, "Linear")
    assert shown(page) == "0 of 144 runs"
    assert rows(page, 0) == []
    eventually(lambda: page.run(MARKS, CHARTS[1]) == [])
    # The paper's own curves stay, beside none of ours.
    assert page.run(TOLD) == [*["No run is chosen."] * 5, False]
    page.run("document.querySelector('#filters .status button').focus()")
    page.press(Keys.ENTER)
    assert shown(page) == "All 144 runs"
    assert page.run(TOLD) == []
    assert page.messages() == []


def test_a_mean_is_drawn_only_where_it_is_that_of_the_runs_that_are_chosen(page: Browser) -> None:
    accuracy = page.run("return report.runs.test_accuracy")

    def check(count: int) -> None:
        chosen = set(page.run("return selected"))
        means = [one for one in page.run(MARKS, CHARTS[1]) if one["part"] == "mean"]
        assert len(means) == count
        points = marks(page, "point")
        for mean in means:
            assert set(mean["runs"]) <= chosen
            place = [(one["line"], one["x"]) == (mean["line"], mean["x"]) for one in points]
            own = [one["y"] for one, here in zip(points, place, strict=True) if here]
            assert np.mean(own) == pytest.approx(mean["y"], abs=1e-3)
            assert np.mean([accuracy[run] for run in mean["runs"]]) == pytest.approx(mean["y"])

    check(24)
    curves = "learning_curves"
    whole = {mark["hue"] + mark["panel"]: mark["y"] for mark in page.run(MARKS, curves)}
    for value in ("1", "2", "4", "6", "8"):
        page.run(
            "[...document.querySelectorAll('#filters fieldset')].find((group) => group.textContent"
            ".startsWith('Expansion')).querySelectorAll('label').forEach((label) => {"
            " if (label.textContent === arguments[0]) label.firstChild.click(); })",
            value,
        )
    eventually(lambda: len(marks(page, "point")) < 30)
    check(4)
    # Curves of one expansion have means of their own.
    alone = {mark["hue"] + mark["panel"]: mark["y"] for mark in page.run(MARKS, curves)}
    assert alone.keys() == whole.keys()
    assert alone != whole
    untick(page, "0")  # of seeds: means of fewer were never computed
    eventually(lambda: len(marks(page, "point")) == 20)
    check(0)


def test_the_table_is_sorted_and_turned_by_keyboard(page: Browser) -> None:
    page.run("document.querySelector('#run-table thead th:nth-child(7) button').focus()")
    page.press(Keys.ENTER)
    up = [float(text) for text in rows(page, 6)]
    assert up == sorted(up)
    page.press(Keys.ENTER)
    down = [float(text) for text in rows(page, 6)]
    assert down == sorted(down, reverse=True)
    assert down[0] > up[0]
    sort = "return document.querySelector('#run-table th:nth-child(7)').getAttribute('aria-sort')"
    assert page.run(sort) == "descending"
    following = "[...document.querySelectorAll('#run-table .status button')][1]"
    page.run(f"{following}.focus()")
    for _ in range(14):
        page.press(Keys.ENTER)
    assert page.run(f"return {following}.disabled")
    assert rows(page, 6)[-2:] == ["", ""]  # what has no value comes last


def test_a_run_opens_by_keyboard(page: Browser) -> None:
    page.run("document.querySelector('#run-table tbody button').focus()")
    page.press(Keys.ENTER)
    opened = "document.querySelector('#run-table tr.opened')"
    words = page.run(f"return {opened}.innerText")
    assert "Learning curve" in words
    assert "seed" in words
    assert page.run(f"return {opened}.querySelectorAll('path.validation').length") == 1
    assert page.run("return document.activeElement.getAttribute('aria-expanded')") == "true"
    page.press(Keys.SPACE)
    assert page.run(f"return {opened}") is None


def test_a_point_tells_its_run_and_opens_it(page: Browser) -> None:
    run_id, x, y = page.run(POINT)
    pointer = ActionBuilder(page.driver)
    pointer.pointer_action.move_to_location(x, y)
    pointer.perform()
    words = page.run("return tooltip.innerText").split()
    assert run_id in words
    assert "Expansion" in words
    pointer.pointer_action.click()
    pointer.perform()
    assert page.run("return document.activeElement.textContent") == run_id
    assert page.run("return document.activeElement.getAttribute('aria-expanded')") == "true"


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_the_page_never_scrolls_sideways(page: Browser, width: int) -> None:
    page.run("openRun(0)")
    page.size(width)
    page.wait(f"return document.querySelector('.chart svg').clientWidth <= {width}")
    page.run("document.querySelector('#charts select').append(new Option('Accuracy '.repeat(20)))")
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.run(overflow) == 0


def test_a_wide_screen_shows_the_table_whole_and_text_at_a_measure(page: Browser) -> None:
    hidden = "const table = document.querySelector('#run-table .scroll');"
    assert page.run(f"{hidden} return table.scrollWidth - table.clientWidth") == 0
    texts = "[...document.querySelectorAll('p:not(.claim p), dd')]"
    widest = f"Math.max(...{texts}.map((text) => text.clientWidth))"
    assert page.run(f"return {widest}") < 720


@pytest.mark.parametrize("width", [375, 1280])
def test_names_of_axes_and_values_are_whole(browser: Browser, tmp_path: Path, width: int) -> None:
    shortcuts = ("bottleneck", "none", "expansion")
    parts = [
        make_frame((6,), ("linear",), shortcuts, seeds=2).assign(**{"model.frozen": frozen})
        for frozen in (False, True)
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["run_id"] = [f"run{number}" for number in range(len(frame))]
    workdir = write_workdir(tmp_path / "sweep", frame)
    analyse(workdir, [], title="t", command="c")
    browser.prefer()
    browser.size(width)
    browser.open(workdir / "report.html")
    words = browser.run(TEXTS, "accuracy_over_shortcut")
    assert not [text for text in words if "…" in text]
    assert {"Frozen", "False", "True"} <= set(words)
    assert "Shortcut between bottlenecks" in " ".join(words)


def test_charts_follow_the_colour_scheme(page: Browser) -> None:
    colours = (
        "return [...document.querySelectorAll('#chart-accuracy_over_expansion path')]"
        ".map((path) => getComputedStyle(path).fill)"
    )
    light = page.run(colours)
    page.prefer(prefers_color_scheme="dark")
    dark = page.run(colours)
    assert "rgb(0, 114, 178)" in light
    assert "rgb(0, 114, 178)" not in dark
    assert len(dark) == len(light)


def test_paper_gets_charts_and_notes_but_no_filters_and_no_table(page: Browser) -> None:
    height = "return document.querySelector(arguments[0]).getBoundingClientRect().height"
    unfolded = "return document.querySelector('.claims details ul').checkVisibility()"
    assert page.run(height, "#run-table table") > 0
    assert not page.run(unfolded)
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    page.prefer(media="print")
    for hidden in ("#filters", "#run-table table", ".controls"):
        assert page.run(height, hidden) == 0
    assert page.run(unfolded)
    assert page.run(height, "#chart-accuracy_over_expansion svg") > 100
    # Drawn for paper, lest its letters shrink with it.
    width = "return Math.max(...[...document.querySelectorAll('.chart svg')].map((chart) =>"
    width += " chart.viewBox.baseVal.width))"
    assert 500 < page.run(width) <= 720
    page.run("window.dispatchEvent(new Event('afterprint'))")
    assert not page.run(unfolded)
    page.prefer()
    eventually(lambda: page.run(width) > 1000)


def test_hostile_text_is_shown_and_nothing_of_it_runs(browser: Browser, tmp_path: Path) -> None:
    frame = make_frame(expansions=(6,), seeds=2)
    frame["projection"] = frame["projection"].map({"linear": HOSTILE, "relu6": "relu6"})
    frame["error"] = HOSTILE
    frame["train.image"] = [HOSTILE, "$ref"] * 4
    claims = [greater(HOSTILE, HOSTILE, HOSTILE, "projection", HOSTILE, "relu6")]
    workdir = write_workdir(tmp_path / "sweep", frame)
    analyse(workdir, claims, title=HOSTILE, command=HOSTILE)
    browser.messages(), browser.requests()
    browser.open(workdir / "report.html")
    browser.run("openRun(0)")
    assert browser.run("return document.title") == HOSTILE
    assert browser.run("return document.querySelectorAll('img').length") == 0
    assert browser.run("return document.querySelector('.details pre').textContent") == HOSTILE
    browser.run(
        "const chart = report.charts.accuracy_over_projection;"
        "const point = chart.rows.find(({ part }) => part === 'point');"
        "showTooltip(chart, { clientX: 9, clientY: 9 }, point)"
    )
    assert HOSTILE in browser.run("return tooltip.textContent")
    assert browser.messages() == []
    assert set(browser.requests()) <= {(workdir / "report.html").as_uri(), "data:,"}


def test_without_scripts_verdicts_and_command_are_there(browser: Browser, report: Path) -> None:
    browser.prefer()
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.driver.get(report.as_uri())
        words = browser.driver.find_element("tag name", "body").text
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "A linear projection wins" in words
    assert "scripts are switched off" in words
    assert "python -m experiments.ablate" in words
    assert "Accuracy over expansion" not in words  # no place for a chart that is not drawn
