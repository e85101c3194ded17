"""A real Chromium, without a window, for tests that open the report in it."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    # What Chromium asks for of its own accord is not the page's doing.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

CHARTS = (
    "effects",
    "accuracy_over_expansion",
    "accuracy_over_madds",
    "heatmap",
    "interaction",
    "learning_curves",
    "paper_figure_6",
)
"""The charts of a report on the default grid."""

# The rows of a chart's marks, each once: what is drawn. `runs` are those of a row.
MARKS = """
const found = new Set();
(function visit(item) {
  for (const child of item.items ?? []) {
    if (item.role === "mark" && child.datum?.part) found.add(child.datum);
    visit(child);
  }
})(drawn.get(arguments[0]).scenegraph().root);
const { sets } = report.charts[arguments[0]];
return [...found].map(({ part, set, x, y, line, hue, panel }) =>
  ({ part, x, y, line, hue, panel, runs: sets[set]?.runs }));
"""

_DRAWN = "return performance.getEntriesByName('charts drawn').length > 0"


class Browser:
    """A browser, and what it has logged since it was last asked."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        """Opens a report from disk and waits until its charts are drawn."""
        self.driver.get(path.as_uri())
        self.wait(_DRAWN)

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs JavaScript in the page."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str) -> None:
        """Waits until JavaScript returns true; a test that waits in vain fails here."""
        WebDriverWait(self.driver, 60).until(lambda _: self.run(condition))

    def size(self, width: int, height: int = 900) -> None:
        """Gives the page this many pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, *, media: str = "", **features: str) -> None:
        """Emulates media such as `print`, and features such as `prefers_color_scheme="dark"`."""
        named = [
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()
        ]
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": named}
        )

    def press(self, keys: str) -> None:
        """Presses keys where the focus is."""
        self.driver.switch_to.active_element.send_keys(keys)

    def messages(self) -> list[str]:
        """What the console was told, warnings included."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that were asked for."""
        entries = (json.loads(entry["message"]) for entry in self.driver.get_log("performance"))
        return [
            entry["message"]["params"]["request"]["url"]
            for entry in entries
            if entry["message"]["method"] == "Network.requestWillBeSent"
        ]


@contextmanager
def started(profile: Path) -> Iterator[Browser]:
    """Starts Chromium on a new profile; skips the test where there is none, except in CI."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver_program = shutil.which("chromedriver")
    if not (program and driver_program):
        missing = "neither Chromium nor its chromedriver can be found"
        if os.environ.get("CI"):
            pytest.fail(f"{missing}; .ci/run installs them")
        pytest.skip(missing)
    options = Options()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_program))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def rows(page: Browser, column: int) -> list[str]:
    return page.run(
        "return [...document.querySelectorAll('#run-table tr.run')].map((row) =>"
        " row.cells[arguments[0]].textContent)",
        column,
    )


def shown(page: Browser) -> str:
    return page.run("return document.querySelector('#filters output').textContent")


def untick(page: Browser, label: str) -> None:
    """Takes the tick off a value by keyboard."""
    page.run(
        "[...document.querySelectorAll('#filters label')].find((label) =>"
        " label.textContent === arguments[0]).firstChild.focus()",
        label,
    )
    page.press(Keys.SPACE)


def marks(page: Browser, part: str, chart: str = "accuracy_over_expansion") -> list[dict]:
    return [mark for mark in page.run(MARKS, chart) if mark["part"] == part]


def eventually(holds: Callable[[], bool]) -> None:
    """Vega draws what has changed a moment later."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
