"""Searches without training: learning curves stand in for trials, and a clock of its own for the wall's.

The engine, the study and the scheduler are those of a real search; only Ray, the learners and the waiting are left out.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from results.schema import Event
from search.engine import Engine
from search.plan import Plan
from search.room import Room
from search.scheduler import Verdict
from search.searcher import Searcher
from search.warm_start import EarlierTrial
from spaces.forest import ForestConfig
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig
from trainables.curves import LearningCurve

CurveOf = Callable[[SvmConfig | ForestConfig | ResnetConfig], LearningCurve]


class SimulatedClock:
    """A clock that stands still until it is set.

    Attributes:
        now: Seconds since the search began.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def simulate(
    plan: Plan,
    curve_of: CurveOf,
    available: dict[str, float],
    study: Path | None = None,
    earlier: Sequence[EarlierTrial] = (),
    faces: int = 0,
) -> list[Event]:
    """The events of a search by `plan` in which every trial takes and measures what its curve says.

    Args:
        plan: Its budget ends the search, minutes being those of the simulated clock.
        curve_of: Gives the curve of a config, with a value for each rung of the plan.
        available: The CPUs and GPUs of the simulated machine, as `Room` takes them.
        study: Where the study is written; None keeps it in memory, which is faster.
        earlier: Trials of earlier runs, from which the search learns.
        faces: On how many validation faces the curves were measured; 0 if nobody knows.
    """
    clock, events = SimulatedClock(), list[Event]()
    room = Room(plan.resources, available, plan.space.families)
    engine = Engine(plan, Searcher(study, plan, (), earlier), (), events.append, room, faces, clock)
    engine.begin()
    due: list[tuple[float, int, int]] = []
    curves: dict[int, LearningCurve] = {}

    def run_to_next_rung(trial: int, reached: int) -> None:
        """Let `trial`, which has measured `reached` rungs, arrive at the next one when its seconds are over."""
        seconds = (0.0, *curves[trial].seconds)
        heapq.heappush(due, (clock.now + seconds[reached + 1] - seconds[reached], trial, reached))

    end = math.inf if plan.budget.minutes is None else 60 * plan.budget.minutes
    while True:
        while (assignment := engine.suggest()) is not None:
            curves.setdefault(assignment.trial, curve_of(assignment.config))
            run_to_next_rung(assignment.trial, sum(rung <= assignment.recorded for rung in plan.fidelity.rungs))
        if not due or engine.is_over:
            break
        when, trial, rung = heapq.heappop(due)
        clock.now = min(when, end)
        if engine.is_over:
            break
        if engine.report(report_of(trial, curves[trial], rung)) is Verdict.GO_ON:
            run_to_next_rung(trial, rung + 1)
    engine.close()
    return events


def report_of(trial: int, curve: LearningCurve, rung: int) -> dict[str, Any]:
    """What a trial with `curve` reports at the rung of that index."""
    return {
        "trial": trial,
        "fidelity": curve.fidelity[rung],
        "val_accuracy": curve.val_accuracy[rung],
        "val_macro_f1": curve.val_macro_f1[rung],
        "val_log_loss": curve.val_log_loss[rung],
        "val_recall": curve.val_recall[rung],
        "fit_seconds": curve.seconds[rung],
        "total_seconds": curve.seconds[rung],
        "images_per_second": 0.0,
        "cache_hit": True,
        "latency_ms": curve.latency_ms[rung],
        "model_mb": curve.model_mb[rung],
        "checkpoint": f"checkpoints/{trial:05d}/{curve.fidelity[rung]}",
    }
