"""A search with real workers: what one computed the others find, and nothing is computed twice."""

from pathlib import Path

import pytest
import yaml
from command_line import CommandLine

from results.journal import read_events
from results.schema import Measurement

FEATURES = {"kind": "hog", "hog_cell": 12, "pca": 24, "mirror": True, "flip": True}


def write_plan(folder: Path, **fields: object) -> str:
    features = {name: [value] for name, value in FEATURES.items()} | {"whiten": False, "discriminants": "none"}
    values = {
        "data": {"demo_images": 900, "protocol": {"balance": 60}},
        "budget": {"trials": 6},
        "fidelity": {"maximum": 3},
        "scheduler": "none",
        "cluster": {"cpus": 2},
        "space": {"families": ["svm"], "svm": {"kernel": "rbf", "features": features}},
        **fields,
    }
    (folder / "plan.yaml").write_text(yaml.safe_dump(values))
    return "plan.yaml"


def entries(cache: Path) -> set[str]:
    return {path.name for path in (cache / "shared").glob("[a-z]*-*")}


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_two_workers_compute_each_piece_once(fertune: CommandLine, cache: Path):
    before = entries(cache)
    outcome = fertune.json("search", write_plan(fertune.folder), "--name", "on", timeout=240)
    assert outcome["finished"] == 6
    new = entries(cache) - before
    info = fertune.json("status", "runs/on")
    assert info["cache_misses"] == len(new) > 0
    # Of each rung: the features, and the vectors of validation and of its mirror images; 6 trials, 2 rungs.
    assert info["cache_hits"] + info["cache_misses"] >= 6 * 2 * 3
    assert info["cache_bytes"] > 0
    again = fertune.json("search", "plan.yaml", "--name", "off", "--set", "cache=off")
    assert fertune.json("status", "runs/off")["cache_hits"] == 0
    accuracy = [outcome["incumbent"]["val_accuracy"], again["incumbent"]["val_accuracy"]]
    assert accuracy[0] == pytest.approx(accuracy[1], abs=0.01)
    events = read_events(fertune.folder / "runs" / "on" / "measurements.jsonl")
    starts = [event.start_seconds for event in events if isinstance(event, Measurement) and event.cache_hit]
    assert starts
    assert all(seconds is not None for seconds in starts)
