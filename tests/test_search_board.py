"""A real TensorBoard, over HTTP, on a search that is still running."""

import json
import signal
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, wait_until

from results.journal import read_events
from results.schema import Measurement, TrialStart

pytestmark = pytest.mark.timeout(280)


def get(address: str, path: str, **query: str) -> Any:
    with urllib.request.urlopen(
        f"{address}data/plugin/scalars/{path}?{urllib.parse.urlencode(query)}", timeout=10
    ) as answer:
        return json.loads(answer.read())


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
        assert search.poll() is None, search.communicate()
        out, err = search.communicate(timeout=200)
        assert search.returncode == 0, f"{out}\n{err}"
        expected = measured(run)
        wait_until(lambda: set(get(address, "tags")) == {*expected, "search"}, 60, lambda: str(get(address, "tags")))
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
        board.send_signal(signal.SIGINT)
        board.communicate(timeout=20)
    assert board.returncode == 0


def scalars(address: str, run: str, tag: str) -> list[list[float]]:
    return [[step, value] for _, step, value in get(address, "scalars", run=run, tag=tag)]


def test_a_run_without_events_gets_a_sentence(fertune: CommandLine):
    assert "no run here" in fertune.run("board", "runs/none", code=2).stderr
    (fertune.folder / "empty").mkdir()
    (fertune.folder / "empty" / "plan.yaml").write_text("budget: {trials: 1}\n")
    assert "no TensorBoard events" in fertune.run("board", "empty", code=2).stderr
