"""When a search ends, and what it has spent."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from results.goals import MEASURES, Goals
from results.leaderboard import ACCURACY, TrialRecord, incumbent


class Budget(BaseModel):
    """When a search ends: at whichever comes first.

    Attributes:
        trials: Number of trials.
        minutes: Wall-clock minutes of searching, interruptions not counted.
        target: What the incumbent is to reach of the plan's first objective, by default validation accuracy.
        patience: Number of trials that ended since the incumbent was found (or since the start, while there is none);
            trials that are running then are let go on, and a new incumbent among them continues the search. A
            paused trial has not ended.
        cpu_seconds: Seconds that pretraining and trials took, times the CPUs they occupied: STOPPED and FAILED trials
            included, each up to its last measurement. Running trials are cut, as with `minutes`.
        gpu_seconds: Likewise for GPUs.
        cpu_price: Price of a CPU-second, in any currency; likewise `gpu_price`.
        cost: What CPU-seconds and GPU-seconds may cost together; trials are cut then, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    target: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    patience: int | None = Field(default=None, ge=1)
    cpu_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    gpu_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    cpu_price: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    gpu_price: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    cost: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @property
    def is_trials_alone(self) -> bool:
        """Whether nothing but the number of trials ends the search."""
        others = (self.minutes, self.target, self.patience, self.cpu_seconds, self.gpu_seconds, self.cost)
        return self.trials is not None and all(limit is None for limit in others)

    @model_validator(mode="after")
    def _has_prices_and_an_end(self) -> Self:
        wrong = []
        if self.cost is not None and not (self.cpu_price or self.gpu_price):
            wrong.append(f"cost is {self.cost:g}, but nothing has a price; give cpu_price or gpu_price, a second")
        if self.trials is None and self.minutes is None and self.patience is None:
            wrong.append(
                "a search needs an end: give trials, minutes or patience (a target alone may never be met, "
                "and trials that fail at once spend nothing)"
            )
        if wrong:
            raise ValueError("\n".join(wrong))
        return self


def budget_text(limits: Mapping[str, float | None], goals: Goals) -> str:
    """The limits of a dumped `Budget` for people; a target says what it is of, unless that is accuracy."""
    parts = [f"{name} {limit:g}" for name, limit in limits.items() if limit is not None and name != "target"]
    target, goal = limits["target"], goals.objectives[0]
    if target is not None:
        sign = ">=" if MEASURES[goal] else "<="
        parts.insert(0, f"target {target:g}" if goal == "val_accuracy" else f"target {goal} {sign} {target:g}")
    return ", ".join(parts)


class Spend(NamedTuple):
    """What a run has spent.

    Attributes:
        cpu_seconds: Seconds times CPUs.
        gpu_seconds: Seconds times GPUs.
    """

    cpu_seconds: float
    gpu_seconds: float

    def describe(self, budget: Budget) -> str:
        """Both figures for people, GPUs only where any were used, with their limits."""
        parts = [("CPU", self.cpu_seconds, budget.cpu_seconds)]
        if self.gpu_seconds or budget.gpu_seconds:
            parts.append(("GPU", self.gpu_seconds, budget.gpu_seconds))
        limits = [f" of {limit:g}" if limit else "" for _, _, limit in parts]
        texts = [f"{spent:.0f}{of} {name}-seconds" for (name, spent, _), of in zip(parts, limits, strict=True)]
        if budget.cpu_price or budget.gpu_price:
            texts.append(f"cost {self.cost(budget):.2f}" + (f" of {budget.cost:g}" if budget.cost else ""))
        return ", ".join(texts)

    def cost(self, budget: Budget) -> float:
        """What both cost at the prices of `budget`."""
        return self.cpu_seconds * (budget.cpu_price or 0.0) + self.gpu_seconds * (budget.gpu_price or 0.0)

    def plus(self, seconds: float, occupied: tuple[float, float]) -> "Spend":
        """This and `seconds` of work that occupies the CPUs and GPUs `occupied`."""
        return Spend(self.cpu_seconds + seconds * occupied[0], self.gpu_seconds + seconds * occupied[1])

    def seconds_left(self, budget: Budget, busy: tuple[float, float]) -> float:
        """Seconds until `budget` allows no more while so many CPUs and GPUs are `busy`; infinite without a limit."""
        cpus, gpus = busy
        costs = cpus * (budget.cpu_price or 0.0) + gpus * (budget.gpu_price or 0.0)
        limits = [
            (budget.cpu_seconds, self.cpu_seconds, cpus),
            (budget.gpu_seconds, self.gpu_seconds, gpus),
            (budget.cost, self.cost(budget), costs),
        ]
        return min(((limit - spent) / pace for limit, spent, pace in limits if limit and pace), default=math.inf)

    def share(self, budget: Budget) -> float:
        """How much of `budget` this is: 1 or more if it allows no more, 0 if it limits no means."""
        spent = (self.cpu_seconds, budget.cpu_seconds), (self.gpu_seconds, budget.gpu_seconds)
        limits = [*spent, (self.cost(budget), budget.cost)]
        return max((amount / limit for amount, limit in limits if limit is not None), default=0.0)


class Patience:
    """Counts trials that ended without an improvement.

    Attributes:
        incumbent: The best trial at full fidelity among those that ended, None while there is none.
        waited: How many trials ended since it was found; all that ended while there is none.
    """

    def __init__(self, goals: Goals = ACCURACY) -> None:
        self._goals = goals
        self.incumbent: TrialRecord | None = None
        self.waited = 0

    def end(self, record: TrialRecord) -> None:
        """Take note of a trial that ended, in the order in which trials end."""
        best = incumbent(filter(None, (self.incumbent, record)), self._goals)
        self.waited = 0 if best is record else self.waited + 1
        self.incumbent = best
