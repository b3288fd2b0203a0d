"""A real Chromium without a window, for pages that have to be seen; tests skip where there is none."""

import base64
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service


def find_browser() -> tuple[str, str] | None:
    """The programs of Chromium and of its driver, None where one of them is missing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (chromium, driver) if chromium and driver else None


needs_browser = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium with its driver here (Debian: apt-get install chromium chromium-driver)"
)


@contextmanager
def open_browser(width: int = 1280, height: int = 900) -> Iterator[webdriver.Chrome]:
    """A browser of `width` x `height` pixels that keeps its console; it has ended afterwards."""
    found = find_browser()
    assert found is not None
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    with tempfile.TemporaryDirectory(prefix="ft-browser-") as profile:
        sandbox = ("--no-sandbox", "--disable-dev-shm-usage")  # tests may run as root, in a container
        for argument in ("--headless=new", *sandbox, "--disable-gpu", f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.add_argument(f"--window-size={width},{height}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(found[1]))
        try:
            driver.set_page_load_timeout(60)
            driver.set_script_timeout(60)
            yield driver
        finally:
            driver.quit()


def phone(driver: webdriver.Chrome, width: int = 390, height: int = 844) -> None:
    """Make the page as wide as on a phone, which a window cannot be."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def console_errors(driver: webdriver.Chrome) -> list[str]:
    """What the page complained of in its console since the last call."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def screenshot(driver: webdriver.Chrome, path: Path, height: int | None = None) -> None:
    """Write what the window shows to `path`, a PNG, or the page from its top to `height` pixels."""
    options = {}
    if height is not None:
        width = driver.execute_script("return document.documentElement.clientWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        options = {"captureBeyondViewport": True, "clip": clip}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", **options})
    path.write_bytes(base64.b64decode(shot["data"]))
