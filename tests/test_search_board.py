"""A real TensorBoard, over HTTP, on a search that is still running."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from board_run import searched_run
from browser import console_errors, needs_browser, open_browser, screenshot
from command_line import CommandLine, wait_until
from selenium.webdriver.remote.webdriver import WebDriver

from results.journal import read_events
from results.leaderboard import trials_in
from results.schema import Measurement, Status, TrialStart

pytestmark = pytest.mark.timeout(280)


def get(address: str, path: str, **query: str) -> Any:
    with urllib.request.urlopen(
        f"{address}data/plugin/scalars/{path}?{urllib.parse.urlencode(query)}", timeout=10
    ) as answer:
        return json.loads(answer.read())


def hyperparameters(address: str) -> dict[str, dict[str, Any]]:
    """The rows of the HPARAMS tab: each trial's values."""
    statuses = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
    wanted = {"experimentName": "", "allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 100}
    request = urllib.request.Request(
        f"{address}data/plugin/hparams/session_groups",
        data=json.dumps(wanted).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return {group["name"]: group["hparams"] for group in json.loads(answer.read())["sessionGroups"]}


def start_board(fertune: CommandLine, run: str) -> tuple[subprocess.Popen[str], str]:
    board = fertune.start("board", run, "--port", "0")
    assert board.stdout is not None
    line = board.stdout.readline()
    address = next((word for word in line.split() if word.startswith("http://")), "")
    assert address.startswith(("http://127.0.0.1:", "http://localhost:")), f"{line}{board.communicate(timeout=10)}"
    return board, address


def measured(run: Path) -> dict[str, list[list[float]]]:
    """TensorBoard's run name of each trial, and its (fidelity, accuracy) pairs, from the journal."""
    events = read_events(run / "measurements.jsonl")
    names = {e.trial: f"trial-{e.trial:05d}-{e.family}" for e in events if isinstance(e, TrialStart)}
    found: dict[str, list[list[float]]] = {}
    for event in events:
        if isinstance(event, Measurement):
            found.setdefault(names[event.trial], []).append(
                [event.fidelity, pytest.approx(event.val_accuracy, abs=1e-6)]
            )
    return found


@pytest.mark.slow
def test_events_arrive_while_the_search_runs(fertune: CommandLine):
    (fertune.folder / "plan.yaml").write_text(
        "data: {demo_images: 700, protocol: {balance: none}}\nbudget: {trials: 6, minutes: 3}\n"
        "fake: {seconds: 16}\ncluster: {cpus: 2}\n"
    )
    search = fertune.start("search", "plan.yaml", "--name", "watched")
    run = fertune.folder / "runs" / "watched"
    wait_until(lambda: search.poll() is not None or any(run.glob("tensorboard/trial-*")), 120, lambda: "no events")
    board, address = start_board(fertune, "runs/watched")
    try:
        wait_until(lambda: "trial-00000" in str(get(address, "tags")), 60, lambda: str(get(address, "tags")))
        wait_until(lambda: bool(hyperparameters(address)), 60, lambda: "no row in the HPARAMS tab")
        assert search.poll() is None, search.communicate()
        out, err = search.communicate(timeout=200)
        assert search.returncode == 0, f"{out}\n{err}"
        expected = measured(run)
        wait_until(lambda: set(get(address, "tags")) == {*expected, "search"}, 60, lambda: str(get(address, "tags")))
        wait_until(lambda: set(hyperparameters(address)) == set(expected), 60, lambda: str(hyperparameters(address)))
        for name, points in expected.items():
            wait_until(
                lambda name=name, points=points: scalars(address, name, "validation/accuracy") == points,
                30,
                lambda name=name, points=points: f"{name}: {scalars(address, name, 'validation/accuracy')} != {points}",
            )
        best = scalars(address, "search", "search/best_accuracy")
        values = [value for _, value in best]
        assert values == sorted(values)
        assert values[-1] == pytest.approx(
            fertune.json("status", "runs/watched")["incumbent"]["val_accuracy"], abs=1e-6
        )
    finally:
        end_board(board)


def scalars(address: str, run: str, tag: str) -> list[list[float]]:
    return [[step, value] for _, step, value in get(address, "scalars", run=run, tag=tag)]


@pytest.mark.slow
@needs_browser
def test_both_tabs_in_a_browser(fertune: CommandLine, cache: Path):
    """One run that is still searched, and a folder of two; the tabs are full and the console is quiet."""
    run = searched_run(fertune.folder / "runs" / "one", cache, steps=14, budget={"trials": 12})
    searched_run(fertune.folder / "runs" / "two", cache, space={"families": ["svm"]})
    pictures = Path(os.environ.get("FERTUNE_SCREENSHOTS", fertune.folder))
    records = trials_in([run])
    assert any(record.status is Status.RUNNING for record in records)
    with open_browser(1400, 900) as driver:
        board, address = start_board(fertune, "runs/one")
        try:
            driver.get(f"{address}#scalars&tagFilter=validation|search")
            wait_until(lambda: "validation" in text_of(driver), 60, lambda: text_of(driver))
            time.sleep(3)  # charts are drawn one after another
            screenshot(driver, pictures / "tensorboard-scalars.png")
            rows = hparams_rows(driver, address, len(records))
            screenshot(driver, pictures / "tensorboard-hparams.png")
            assert {f"trial-{record.trial:05d}-{record.family}" for record in records} <= rows
            assert console_errors(driver) == []
        finally:
            end_board(board)
        board, address = start_board(fertune, "runs")
        try:
            rows = hparams_rows(driver, address, len(records) + 6)
            assert {f"one/trial-{record.trial:05d}-{record.family}" for record in records} <= rows
            assert {f"two/trial-{trial:05d}-svm" for trial in range(6)} <= rows
            assert console_errors(driver) == []
        finally:
            end_board(board)


def end_board(board: subprocess.Popen[str]) -> None:
    board.send_signal(signal.SIGINT)
    out, err = board.communicate(timeout=20)
    assert board.returncode == 0, f"{out}{err}"


def text_of(driver: WebDriver) -> str:
    """All words of the page, those of its web components too."""
    return driver.execute_script(
        """const words = [];
        const walk = (node) => {
          if (node.nodeType === Node.TEXT_NODE) words.push(node.textContent);
          if (["SCRIPT", "STYLE", "TEMPLATE"].includes(node.nodeName)) return;
          if (node.shadowRoot) walk(node.shadowRoot);
          node.childNodes.forEach(walk);
        };
        walk(document.body);
        return words.join(" ");"""
    )


def hparams_rows(driver: WebDriver, address: str, count: int) -> set[str]:
    """The names of the trials in the HPARAMS tab, once there are `count`; every searched column is offered."""
    driver.get("about:blank")
    driver.get(f"{address}#hparams")

    def names() -> set[str]:
        return set(re.findall(r"(?:\w+/)?trial-\d{5}-\w+", text_of(driver)))

    wait_until(lambda: len(names()) >= count, 60, lambda: f"{count} rows wanted, found {names()}: {text_of(driver)}")
    words = text_of(driver)
    for column in ("family", "svm.kernel", "forest.depth", "resnet.backbone_lr", "accuracy", "fidelity"):
        assert column in words
    return names()


def test_a_run_without_events_gets_a_sentence(fertune: CommandLine):
    assert "no run here" in fertune.run("board", "runs/none", code=2).stderr
    (fertune.folder / "empty").mkdir()
    (fertune.folder / "empty" / "plan.yaml").write_text("budget: {trials: 1}\n")
    assert "no TensorBoard events" in fertune.run("board", "empty", code=2).stderr
