"""Every plan in `examples/` is a valid plan, and runs: made small, on the built-in faces."""

from pathlib import Path

import pytest
from command_line import CommandLine

from search.plan_file import read_plan

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.yaml"))
SMALLER = (
    "data.source=demo",
    "data.demo_images=700",
    "budget={trials: 3}",
    "fidelity={maximum: 3, eta: 3}",
    "cluster.cpus=2",
    "pretraining.epochs=1",
    "space.forest.trees=9",
    "space.resnet.epochs=1",
)
examples = pytest.mark.parametrize("plan", EXAMPLES, ids=lambda path: path.stem)


@examples
def test_an_example_searches_all_three_families(plan: Path):
    assert len(read_plan(plan).space.families) == 3


@pytest.mark.slow
@pytest.mark.timeout(280)
@examples
def test_an_example_runs(plan: Path, fertune: CommandLine):
    settings = [part for setting in SMALLER for part in ("--set", setting)]
    found = fertune.json("search", str(plan), "--name", "example", *settings)
    assert (found["trials"], found["failed"]) == (3, 0)
    families = {trial["family"] for trial in fertune.json("results", "runs/example")["trials"]}
    assert families == {"svm", "forest", "resnet"}
