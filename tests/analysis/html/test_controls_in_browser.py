"""Selectors, files and address of the report, in a real browser."""

import functools
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.analysis.html.browser import CHARTS, Browser, eventually, marks, shown, untick

pytestmark = pytest.mark.slow


def choose(page: Browser, figure: str, selector: str, text: str) -> None:
    page.run(
        "const label = [...document.getElementById(`chart-${arguments[0]}`).parentElement"
        ".querySelectorAll('.controls label')]"
        ".find((one) => one.textContent.startsWith(arguments[1]));"
        "label.firstElementChild.value = arguments[2];"
        "label.firstElementChild.dispatchEvent(new Event('change'))",
        figure,
        selector,
        text,
    )


def press(page: Browser, figure: str, name: str) -> None:
    page.run(
        "[...document.getElementById(`chart-${arguments[0]}`).parentElement"
        ".querySelectorAll('.controls button')].find((one) => one.textContent === arguments[1])"
        ".click()",
        figure,
        name,
    )


def heading(page: Browser, figure: str) -> str:
    return page.run(
        "return document.getElementById(`figure-${arguments[0]}-title`).innerText", figure
    )


def test_metric_and_axis_are_chosen_and_stand_in_the_address(page: Browser, report: Path) -> None:
    main = CHARTS[1]
    assert heading(page, main) == "Test accuracy over expansion"
    choose(page, main, "Metric", "Test loss")
    choose(page, main, "Axis", "Shortcut")
    choose(page, "interaction", "Axes", "Projection and expansion")
    untick(page, "ReLU6")
    untick(page, "No shortcut")

    def check() -> None:
        eventually(lambda: len(marks(page, "mean")) == 1)
        (mean,) = marks(page, "mean")
        chosen = page.run("return selected")
        losses = page.run("return report.runs.test_loss")
        done = [losses[run] for run in chosen if losses[run] is not None]
        assert mean["y"] == pytest.approx(np.mean(done), rel=1e-2)
        assert heading(page, main) == "Test loss over shortcut"
        assert heading(page, "interaction") == "Interaction of projection and expansion"
        assert shown(page) == "36 of 144 runs"

    check()
    page.run("document.querySelector('nav a[href=\"#runs\"]').click()")
    assert page.run("return scrollY") > 0
    address = page.run("return location.href")
    page.open(report)
    assert shown(page) == "All 144 runs"
    assert heading(page, main) == "Test accuracy over expansion"
    page.driver.get("about:blank")
    page.driver.get(address)
    page.wait("return performance.getEntriesByName('charts drawn').length > 0")
    check()
    assert page.messages() == []
    page.run("document.querySelector('#filters .status button').click()")
    assert "projection" not in page.run("return location.hash").split("&")[-1]


def test_panels_share_y_or_have_their_own(page: Browser) -> None:
    ends = (
        "const view = drawn.get(arguments[0]); const scales = [];"
        "(function visit(group) { for (const [name, scale] of Object.entries(group.context.scales))"
        " if (/(^|_)y$/.test(name)) scales.push(scale.value.domain().join());"
        " for (const one of group.subcontext ?? []) visit({ context: one }); })"
        "({ context: view._runtime, subcontext: view._runtime.subcontext });"
        "return [...new Set(scales)].length"
    )
    toggle = (
        "document.getElementById(`chart-${arguments[0]}`).parentElement"
        ".querySelector('.controls input').click()"
    )
    for figure, before, after in ((CHARTS[0], 2, 1), (CHARTS[1], 1, 2)):
        assert page.run(ends, figure) == before
        page.run(toggle, figure)
        eventually(
            functools.partial(lambda *given: page.run(ends, given[0]) == given[1], figure, after)
        )
    assert page.run("return location.hash") == ("#effects.y=same&accuracy_over_expansion.y=own")
    assert page.messages() == []


def test_a_chart_is_saved_as_csv_svg_and_png(page: Browser, report: Path, tmp_path: Path) -> None:
    page.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    untick(page, "ReLU6")
    main = CHARTS[1]
    for name in ("CSV", "SVG", "PNG"):
        press(page, main, name)
        path = tmp_path / f"{main}.{name.lower()}"
        eventually(path.exists)
    press(page, "effects", "CSV")
    eventually((tmp_path / "effects.csv").exists)
    runs = pd.read_csv(tmp_path / f"{main}.csv", dtype={"run_id": str})
    every = pd.read_csv(report.parent / "results.csv", dtype={"run_id": str})
    linear = every[every["projection"] == "linear"].reset_index(drop=True)
    assert runs["run_id"].tolist() == linear["run_id"].tolist()
    for column in ("status", "projection", "shortcut", "expansion", "seed", "madds", "test_loss"):
        assert runs[column].tolist() == pytest.approx(linear[column].tolist(), nan_ok=True)
    assert runs["test_accuracy"].to_numpy() == pytest.approx(
        linear["test_accuracy"].to_numpy(), abs=1e-6, nan_ok=True
    )
    svg = ElementTree.fromstring((tmp_path / f"{main}.svg").read_text())
    words = " ".join(svg.itertext())
    assert "Linear" in words
    assert "Bands are 95 % t intervals" in words
    assert "var(--" not in (tmp_path / f"{main}.svg").read_text()
    with Image.open(tmp_path / f"{main}.png") as image:
        assert image.width > 1000
    effects = pd.read_csv(tmp_path / "effects.csv")
    assert effects.loc[effects["at"] == "All", "part"].tolist() == ["seed"] * 6 + ["effect"]
    assert page.messages() == []
