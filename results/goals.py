"""What a search is for: the objectives that are optimized, and the limits that a model must keep to."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from results.schema import Measurement

Objective: TypeAlias = Literal["val_accuracy", "val_macro_f1", "val_log_loss", "latency_ms", "model_mb"]

# What is measured, and whether more of it is better.
MEASURES: dict[str, bool] = {
    "val_accuracy": True,
    "val_macro_f1": True,
    "val_log_loss": False,
    "latency_ms": False,
    "model_mb": False,
}
SHARES = frozenset({"val_accuracy", "val_macro_f1"})  # between 0 and 1
TIMED = frozenset({"latency_ms", "model_mb"})
_SLOWER_BY_CHANCE = 0.5  # share of a limit by which one timing may be above it
_CONSTRAINT = re.compile(r"\s*(\w+)\s*(<=|>=)\s*([0-9.eE+-]+)\s*")


class Constraint(NamedTuple):
    """One limit.

    Attributes:
        measure: What is limited.
        sign: 1 where the limit is the most there may be, -1 where it is the least.
        limit: The limit.
    """

    measure: str
    sign: int
    limit: float

    def violation(self, measurement: Measurement) -> float:
        """By how much `measurement` breaks the limit: at most 0 where it keeps to it, infinite without a value."""
        value = getattr(measurement, self.measure)
        return float("inf") if value is None else self.sign * (value - self.limit)


class Goals(BaseModel):
    """The objectives and constraints of a search.

    Attributes:
        objectives: What is optimized. Schedulers, the incumbent and the winner go by the first.
        constraints: Limits such as `latency_ms <= 20`, with `<=` or `>=`; a trial that breaks one cannot win.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objectives: tuple[Objective, ...] = Field(default=("val_accuracy",), min_length=1)
    constraints: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        check_objectives(self.objectives)
        for text in self.constraints:
            parse_constraint(text)
        return self

    @property
    def limits(self) -> tuple[Constraint, ...]:
        """The constraints."""
        return tuple(parse_constraint(text) for text in self.constraints)

    @property
    def measures(self) -> tuple[str, ...]:
        """All that is optimized or limited, the objectives first."""
        return tuple(dict.fromkeys([*self.objectives, *(limit.measure for limit in self.limits)]))

    @property
    def needs_timing(self) -> bool:
        """Whether trials must measure latency and model size."""
        return not TIMED.isdisjoint(self.measures)

    def value(self, measurement: Measurement) -> float:
        """The first objective, turned so that more is better."""
        value = float(getattr(measurement, self.objectives[0]))
        return value if MEASURES[self.objectives[0]] else -value

    def reach(self, measurement: Measurement, target: float) -> bool:
        """Whether the first objective is as good as `target`, given as it is measured, or better."""
        return self.value(measurement) >= (target if MEASURES[self.objectives[0]] else -target)

    def values(self, measurement: Measurement) -> list[float]:
        """All objectives as they were measured."""
        return [float(getattr(measurement, objective)) for objective in self.objectives]

    def violations(self, measurement: Measurement) -> list[float]:
        """One number for each constraint, at most 0 where it is kept."""
        return [limit.violation(measurement) for limit in self.limits]

    def may_keep_footprint(self, measurements: Sequence[Measurement]) -> bool:
        """Whether a model with these `measurements` may yet keep each upper limit of latency and size.

        Neither shrinks with training. But a latency is one timing, beside whatever else runs: it counts as too high
        only if it is so twice in a row, or by more than `_SLOWER_BY_CHANCE`.
        """
        for limit in (limit for limit in self.limits if limit.measure in TIMED and limit.sign > 0):
            *before, last = (limit.violation(each) for each in measurements[-2:])
            is_sure = limit.measure == "model_mb" or any(violation > 0 for violation in before)
            if last > (0 if is_sure else _SLOWER_BY_CHANCE * limit.limit):
                return False
        return True

    def standing(self, measurement: Measurement) -> tuple[bool, float]:
        """Whether `measurement` keeps all constraints, and by what it is compared with others of which that is as true.

        Among those that do it is the first objective, turned so that more is better; among the others how near they
        come: minus the sum of what breaks each limit, as shares of the limits.
        """
        # Nothing measured is below 0, so a limit that is broken is above it.
        broken = [
            limit.violation(measurement) / limit.limit for limit in self.limits if limit.violation(measurement) > 0
        ]
        return (False, -sum(broken)) if broken else (True, self.value(measurement))

    def has_values(self, measurement: Measurement) -> bool:
        """Whether all that is optimized or limited was measured."""
        return all(getattr(measurement, name) is not None for name in self.measures)

    def describe(self) -> str:
        """Objectives and constraints for people."""
        return ", ".join([*self.objectives, *self.constraints])

    @property
    def within(self) -> str:
        """The constraints as a sentence ends with them, such as ` within latency_ms <= 20`; empty without any."""
        return f" within {', '.join(self.constraints)}" if self.constraints else ""

    def are_kept_by(self, measurement: Measurement) -> bool:
        """Whether `measurement` breaks no constraint."""
        return all(violation <= 0 for violation in self.violations(measurement))


def broken_by(violations: Iterable[float]) -> float:
    """By how much a model breaks all limits together, 0 if none, of its violation of each; so Optuna's TPE ranks it."""
    return sum(violation for violation in violations if violation > 0)


def check_objectives(objectives: Sequence[str]) -> None:
    """Make sure that each of `objectives` is named once.

    Raises:
        ValueError: If one is named twice.
    """
    if len(set(objectives)) < len(objectives):
        raise ValueError(f"an objective is named twice in {', '.join(objectives)}; each may be named once")


def check_constraint(text: str) -> None:
    """Make sure that a model can keep the constraint that `text` says.

    Raises:
        ValueError: If it says none, or one that no model keeps, such as an accuracy in percent.
    """
    measure, sign, limit = parse_constraint(text)
    if sign > 0 and limit <= 0:
        raise ValueError(f"{measure} is never below 0; received {text!r}")
    if sign < 0 and measure in SHARES and limit > 1:
        raise ValueError(f"{measure} is never above 1; received {text!r}")


def parse_constraint(text: str) -> Constraint:
    """The constraint that `text` says, such as `latency_ms <= 20`.

    Raises:
        ValueError: If it says none.
    """
    match = _CONSTRAINT.fullmatch(text)
    measures = ", ".join(MEASURES)
    if match is None:
        raise ValueError(f"a constraint reads like `latency_ms <= 20`, with <= or >=; received {text!r}")
    if match[1] not in MEASURES:
        raise ValueError(f"{match[1]!r} is not measured; a constraint limits one of {measures}")
    try:
        limit = float(match[3])
    except ValueError:
        raise ValueError(f"the limit of a constraint is a number; received {match[3]!r} in {text!r}") from None
    return Constraint(match[1], 1 if match[2] == "<=" else -1, limit)
