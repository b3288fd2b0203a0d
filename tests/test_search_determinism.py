"""One seed and one worker: two searches with real learners agree to the last digit, in a process and with Ray."""

from pathlib import Path

import pytest
import yaml
from command_line import CommandLine

from results.journal import read_events
from results.schema import Event, Measurement, SessionEnd, SessionStart
from search.plan import Plan, validate_plan
from search.simulation import simulate
from spaces.forest import ForestConfig
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig
from trainables.base import Task
from trainables.curves import LearningCurve
from trainables.data.protocol import load_training
from trainables.families import build_learner
from trainables.metrics import score
from trainables.threads import limit_threads

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def trained(plan: Plan, cache: Path) -> list[Event]:
    """The events of a search in which every trial is really trained; each rung is said to take a second."""
    data = load_training(plan.data, cache)

    def curve_of(config: SvmConfig | ForestConfig | ResnetConfig) -> LearningCurve:
        learner = build_learner(config, Task(data.train, plan.seed, plan.fidelity))
        limit_threads(1)
        scores = []
        for rung in plan.fidelity.rungs:
            learner.fit_to(rung)
            scores.append(score(data.validation.labels, learner.predict_proba(data.validation.images)))
        count = len(scores)
        return LearningCurve(
            config=config,
            fidelity=plan.fidelity.rungs,
            val_accuracy=tuple(each.accuracy for each in scores),
            val_macro_f1=tuple(each.macro_f1 for each in scores),
            val_log_loss=tuple(each.log_loss for each in scores),
            val_recall=tuple(each.recall for each in scores),
            seconds=tuple(float(rung + 1) for rung in range(count)),
            latency_ms=(1.0,) * count,
            model_mb=(1.0,) * count,
        )

    return simulate(plan, curve_of, {"CPU": 1.0})


VALUES = {
    "data": {"demo_images": 700},
    "budget": {"trials": 8},
    "fidelity": {"maximum": 3},
    "startup_trials": 4,
    "cluster": {"cpus": 1},
    "space": {
        "svm": {"features": {"contrast": "none"}},
        "forest": {"trees": 12, "features": {"contrast": "none"}},
        "resnet": {"arch": "resnet18", "epochs": 1, "image_size": 32},
    },
}


def test_two_searches_agree_to_the_last_digit(tmp_path: Path):
    plan = validate_plan(VALUES, "test")
    first, second = trained(plan, tmp_path), trained(plan, tmp_path)
    assert first == second
    assert sum(isinstance(event, Measurement) for event in first) > 8
    assert trained(plan.model_copy(update={"seed": 1}), tmp_path) != first


def learned(run: Path) -> list[tuple[object, ...]]:
    """The events of a run in their order, without what the clock says."""
    return [
        (event.trial, event.fidelity, event.val_accuracy, event.val_macro_f1, event.val_log_loss, event.val_recall)
        if isinstance(event, Measurement)
        else (event.trial, event.kind, getattr(event, "config", None), getattr(event, "status", None))
        for event in read_events(run / "measurements.jsonl")
        if not isinstance(event, SessionStart | SessionEnd)
    ]


def test_two_searches_by_one_worker_agree_whether_their_work_was_shared_already_or_not(fertune: CommandLine):
    """The first one finds nothing in the cache, the second one all; a third has another seed."""
    (fertune.folder / "plan.yaml").write_text(yaml.safe_dump(VALUES))
    fertune.set("FERTUNE_CACHE", str(fertune.folder / "cache"))
    for name, seed in (("cold", 0), ("warm", 0), ("other", 1)):
        fertune.json("search", "plan.yaml", "--name", name, "--set", f"seed={seed}", timeout=280)
    cold, warm, other = (learned(fertune.folder / "runs" / name) for name in ("cold", "warm", "other"))
    misses = [fertune.json("status", f"runs/{name}")["cache_misses"] for name in ("cold", "warm")]
    assert misses[0] > 5
    assert misses[1] == 0
    assert len(cold) > 24
    assert cold == warm
    assert cold != other
