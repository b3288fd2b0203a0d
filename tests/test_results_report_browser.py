"""The report in a real browser: drawn without a network and without a complaint, on a desk, on a phone, on paper."""

import base64
import os
from pathlib import Path

import pytest
from board_run import searched_run
from browser import console_errors, needs_browser, open_browser, phone, screenshot
from finished_run import TINY, make_run

from results.comparison import Rules
from results.report import write_report
from results.run_folder import RunFolder
from results.selection import select
from spaces.family import Family

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280), needs_browser]

DRAWN = "return [...document.querySelectorAll('.plot')].map((place) => place.querySelectorAll('svg.main-svg').length)"
WIDTHS = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
OUTSIDE = "return performance.getEntriesByType('resource').map((entry) => entry.name)"


def checked(run: RunFolder, cache: Path, pictures: Path) -> None:
    """Write the report of `run` and look at it; screenshots go to the folder `pictures`."""
    written = write_report(run, cache)
    assert written["bytes"] < 10_000_000
    address = run.report.resolve().as_uri()
    with open_browser(1200, 900) as driver:
        driver.get(address)
        drawn = driver.execute_script(DRAWN)
        assert drawn
        assert all(drawn), f"plots that are not drawn: {drawn}"
        assert console_errors(driver) == []
        assert [name for name in driver.execute_script(OUTSIDE) if not name.startswith("data:")] == []
        screenshot(driver, pictures / "report.png", height=3600)
        phone(driver)
        driver.get(address)
        content, window = driver.execute_script(WIDTHS)
        assert content <= window == 390, "the page itself never scrolls sideways"
        screenshot(driver, pictures / "report-phone.png")
        assert console_errors(driver) == []
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        printed = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
        assert printed.startswith(b"%PDF")
        assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") + printed.count(b"/Type /Page/") >= 2
        (run.path / "report.pdf").write_bytes(printed)
        assert console_errors(driver) == []


def test_a_selected_run(tmp_path, cache):
    run = make_run(tmp_path / "selected", cache, [TINY[Family.SVM], TINY[Family.FOREST]])
    run.plan.write_text(run.plan.read_text() + "space: {families: [svm, forest]}\n")
    select(run, cache, Rules(top=2))
    checked(run, cache, tmp_path)


def test_a_search_of_all_families(tmp_path, cache):
    run = searched_run(tmp_path / "searched", cache, budget={"trials": 40})
    checked(run, cache, Path(os.environ.get("FERTUNE_SCREENSHOTS", tmp_path)))
