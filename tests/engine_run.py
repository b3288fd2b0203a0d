"""Drives the engine by hand, with a real study and real events."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from results.leaderboard import trials_of
from results.schema import Event
from search.engine import Engine
from search.plan import Plan, validate_plan
from search.room import Room
from search.scheduler import Verdict
from search.searcher import Searcher
from search.warm_start import EarlierTrial


def make_plan(**budget: Any) -> Plan:
    return plan_of(budget=budget or {"trials": 12})


def plan_of(**fields: Any) -> Plan:
    return validate_plan({"budget": {"trials": 12}, "startup_trials": 4, **fields}, "test")


class Run:
    """A run kept in memory: its events, and a study file."""

    def __init__(
        self, folder: Path, plan: Plan, concurrency: int = 2, gpus: int = 0, earlier: Sequence[EarlierTrial] = ()
    ) -> None:
        self.earlier = earlier
        self.folder = folder
        self.gpus = gpus
        self.plan = plan
        self.concurrency = concurrency
        self.events: list[Event] = []

    def session(self) -> Engine:
        return self.session_in(self.room())

    def session_in(self, room: Room) -> Engine:
        past = list(self.events)
        searcher = Searcher(self.study_file, self.plan, trials_of(past), self.earlier)
        engine = Engine(self.plan, searcher, past, self.events.append, room)
        engine.begin()
        return engine

    def room(self) -> Room:
        return Room(self.plan.resources, {"CPU": self.concurrency, "GPU": self.gpus}, self.plan.space.families)

    @property
    def study_file(self) -> Path:
        return self.folder / "study.journal"

    def study(self) -> list[optuna.trial.FrozenTrial]:
        storage = JournalStorage(JournalFileBackend(str(self.study_file)))
        return optuna.load_study(study_name=None, storage=storage).trials


def report(trial: int, fidelity: int, value: float) -> dict[str, Any]:
    return {
        "trial": trial,
        "fidelity": fidelity,
        "val_accuracy": value,
        "val_macro_f1": value,
        "val_log_loss": 1.0,
        "val_recall": [value] * 3,
        "fit_seconds": 1.0,
        "total_seconds": 2.0,
        "images_per_second": 3.0,
        "cache_hit": True,
        "checkpoint": f"checkpoints/{trial:05d}/{fidelity}",
        "training_iteration": 4,
    }


def fail(engine: Engine, trial: int) -> None:
    """Let a trial end in a moment: once a search has seen twenty in a row fail without a measurement it ends."""
    engine.report(report(trial, 1, value_of(trial)))
    engine.report({"trial": trial, "failed": "on purpose"})


def value_of(trial: int) -> float:
    return (trial * 37 % 101) / 101


def run_to_end(engine: Engine, steps: int = 10_000) -> int:
    """Run trials one rung at a time in turn, as two workers would; stops after `steps` reports."""
    live: dict[int, int] = {}
    while steps:
        while (assignment := engine.suggest()) is not None:
            live[assignment.trial] = assignment.recorded
        if not live:
            break
        trial = next(iter(live))
        fidelity = engine.plan.fidelity.next_rung(live.pop(trial))
        if engine.report(report(trial, fidelity, value_of(trial))) is Verdict.GO_ON:
            live[trial] = fidelity
        steps -= 1
    return steps
