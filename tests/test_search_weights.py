"""Searches whose trials start from weights: pretrained before the first trial, or found by the driver."""

import hashlib
from pathlib import Path

import pytest
import torch
import yaml
from command_line import CommandLine
from engine_run import Run

from results.journal import read_events
from results.leaderboard import trials_of
from results.schema import Preparation
from search.plan import validate_plan
from search.weights import pretrain

PLAN = {
    "data": {"demo_images": 700},
    "budget": {"trials": 4},
    "fidelity": {"maximum": 3, "eta": 3},
    "startup_trials": 4,
    "cluster": {"cpus": 2},
    "pretraining": {"epochs": 1, "batch_size": 32, "image_size": 32, "ema": 0.9},
    "space": {
        "families": ["svm", "resnet"],
        "svm": {"kernel": "rbf", "features": {"kind": "embedding", "image_size": 32}},
        "resnet": {"arch": "resnet18", "weights": "faces", "unfreeze": [0, 1], "epochs": 1, "image_size": 32},
    },
}


def write_plan(folder: Path, **changes: object) -> str:
    (folder / "plan.yaml").write_text(yaml.safe_dump({**PLAN, **changes}))
    return "plan.yaml"


@pytest.mark.timeout(280)
def test_trials_of_two_families_share_one_pretraining(fertune: CommandLine):
    plan = write_plan(fertune.folder)
    done = fertune.run("search", plan, "--name", "one", "--json")
    assert "pretraining resnet18: 100% done" in done.stderr
    events = read_events(fertune.folder / "runs" / "one" / "measurements.jsonl")
    trials = trials_of(events)
    (made,) = (event for event in events if isinstance(event, Preparation))
    assert made.cpu_seconds > 1
    spent = made.cpu_seconds + sum(trial.seconds for trial in trials)
    assert fertune.json("status", "runs/one")["cpu_seconds"] == pytest.approx(spent)
    assert {trial.family for trial in trials} == {"svm", "resnet"}
    assert not any(trial.reason for trial in trials)
    exported = fertune.json("export", "runs/one")
    card = (fertune.folder / exported["artifact"] / "README.md").read_text()
    assert "pretrained on the clean training faces of all seven emotions" in card
    picture = fertune.folder / "sheet.png"
    fertune.run("data", "sample", "--out", str(picture))
    assert fertune.json("predict", exported["artifact"], str(picture))[0]["label"]
    again = fertune.run("search", plan, "--name", "two", "--trials", "1")
    assert "pretraining resnet18: 100% done" not in again.stderr
    events = read_events(fertune.folder / "runs" / "two" / "measurements.jsonl")
    assert not any(isinstance(event, Preparation) for event in events)


@pytest.mark.timeout(280)
def test_imagenet_weights_are_resolved_by_the_driver_or_told_to_be_missing(fertune: CommandLine):
    space = {"families": ["resnet"], "resnet": {**PLAN["space"]["resnet"], "weights": "imagenet"}}
    plan = write_plan(fertune.folder, space=space, budget={"trials": 1})
    hub = fertune.folder / "hub"
    fertune.set("TORCH_HOME", str(hub))
    missing = fertune.run("search", plan, "--name", "missing", code=2)
    assert "put the file resnet18-f37072fd.pth into" in missing.stderr
    assert "Traceback" not in missing.stderr
    (hub / "hub" / "checkpoints").mkdir(parents=True, exist_ok=True)
    wrong = hub / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    torch.save({}, wrong)
    assert not hashlib.sha256(wrong.read_bytes()).hexdigest().startswith("f37072fd")
    assert "sha256 must begin with f37072fd" in fertune.run("search", plan, "--name", "wrong", code=2).stderr


def test_means_end_pretraining_as_they_end_trials(tmp_path: Path):
    plan = validate_plan(
        {**PLAN, "budget": {"trials": 4, "cpu_seconds": 1}, "pretraining": {**PLAN["pretraining"], "epochs": 60}},
        "test",
    )
    run, said = Run(tmp_path, plan), list[str]()
    assert pretrain(plan, run.session(), tmp_path / "cache", 1, {}, said.append) is None
    (made,) = (event for event in run.events if isinstance(event, Preparation))
    assert made.cpu_seconds >= 1
    assert len(said) > 1
    assert not any("100% done" in sentence for sentence in said)
