"""A real Chromium, without a window, for tests that open the report in it."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
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
