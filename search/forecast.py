"""What a search would take and cost, simulated: each trial costs what probes of its family did.

How long a trial goes on depends on how it compares with others, which nobody knows before; accuracies are made up, and
suggestions random, but for those of a grid, and all of one kind.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from results.goals import SHARES
from results.schema import Status
from search.budget import Budget, Spend
from search.ledger import Ledger
from search.plan import Plan
from search.room import Room
from search.simulation import simulate
from spaces.family import Family
from spaces.forest import ForestConfig
from spaces.grid import grid_of
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig
from trainables.curves import LearningCurve
from trainables.synthetic import VALIDATION_FACES, SyntheticCurves

# A longer search goes on as the first of its trials did.
MOST_TRIALS = 300


def forecast(plan: Plan, room: Room, seconds: Mapping[Family, Sequence[float]]) -> dict[str, Any]:
    """What a search by `plan` would take.

    Args:
        plan: The plan.
        room: What there is.
        seconds: What a trial of each family has spent at each rung.

    Returns:
        `trial`, the seconds that trials of each family take on average until they end or are stopped, of families of
        which any does so in that time; and unless only
        patience or a target would end the search, which nobody can foresee, `trials` (how many the budget allows),
        `seconds` (wall-clock), `cpu_seconds`, `gpu_seconds` and, with prices, `cost`.
    """
    ledger, wall = _simulated(plan, room, seconds)
    ended = [each for each in ledger.trials.values() if each.status is not Status.RUNNING]
    taken = {
        str(family): fmean(each.seconds for each in ended if each.family == family)
        for family in {each.family for each in ended}
    }
    # A grid ends with its last config.
    most = len(grid_of(plan.space)) if plan.sampler == "grid" else math.inf
    factor = _how_many_times(plan.budget, most, len(ledger.trials), wall, ledger.spend)
    if factor is None:
        return {"trial": taken}
    spent, budget = Spend(*(factor * each for each in ledger.spend)), plan.budget
    whole = {"trials": round(factor * len(ledger.trials)), "seconds": factor * wall, **spent._asdict()}
    return {"trial": taken, **whole} | ({"cost": spent.cost(budget)} if budget.cpu_price or budget.gpu_price else {})


def _simulated(plan: Plan, room: Room, seconds: Mapping[Family, Sequence[float]]) -> tuple[Ledger, float]:
    """The trials of a search of at most `MOST_TRIALS`, and its seconds."""
    curves = SyntheticCurves(plan.fidelity, plan.seed)

    def curve_of(config: SvmConfig | ForestConfig | ResnetConfig) -> LearningCurve:
        return curves.curve(config).model_copy(update={"seconds": tuple(seconds[Family(config.family)])})

    trials = min(plan.budget.trials or MOST_TRIALS, MOST_TRIALS)
    known = [config.model_dump(mode="json") for config in plan.known_configs()]
    changes = {
        "budget": plan.budget.model_copy(update={"trials": trials, "patience": None, "target": None}),
        "sampler": "grid" if plan.sampler == "grid" else "random",
        "points": (*plan.points, *known),  # which random search would not begin with
        "startup_trials": max(1, plan.startup_trials - len(known)),
        "objectives": ("val_accuracy",),
        # The accuracies are made up, and have no place for a margin in milliseconds.
        "margin": plan.margin if plan.objectives[0] in SHARES else "learned",
        "constraints": (),
        "warm_start": (),
    }
    there = {"CPU": float(room.cpus), "GPU": float(room.gpus)}
    events = simulate(plan.model_copy(update=changes), curve_of, there, faces=VALIDATION_FACES)
    ledger = Ledger(plan.goals, room.shape)
    for event in events:
        ledger.apply(event)
    return ledger, events[-1].time


def _how_many_times(budget: Budget, most: float, trials: int, wall: float, spent: Spend) -> float | None:
    """How many times as long as simulated the search goes on, with so many trials at most; None if nobody knows."""
    most = most if budget.trials is None else min(most, budget.trials)
    limits = (
        (None if math.isinf(most) else most, trials),
        (60 * budget.minutes if budget.minutes else None, wall),
        (budget.cpu_seconds, spent.cpu_seconds),
        (budget.gpu_seconds, spent.gpu_seconds),
        (budget.cost, spent.cost(budget)),
    )
    times = [limit / reached for limit, reached in limits if limit is not None and reached]
    if not times:
        return None
    return max(1.0, min(times)) if trials >= MOST_TRIALS else 1.0
