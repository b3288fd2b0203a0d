"""Domains: what values one parameter may take, and how a trial is asked for one."""

from typing import Annotated, Any, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scalar: TypeAlias = bool | int | float | str


class Suggester(Protocol):
    """The part of `optuna.trial.BaseTrial` that a space needs (so that spaces do not import Optuna)."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...
    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


class _Interval(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "_Interval":
        low, high = getattr(self, "low"), getattr(self, "high")  # noqa: B009 (declared by the subclasses)
        if low > high:
            raise ValueError(f"low must not be above high; received low {low}, high {high}")
        if self.log and low <= 0:
            raise ValueError(f"a log scale needs low > 0; received low {low}")
        return self


class FloatRange(_Interval):
    """Real numbers from `low` to `high`, both included, on a linear or a log scale."""

    low: Annotated[float, Field(strict=False)]
    high: Annotated[float, Field(strict=False)]

    def suggest(self, trial: Suggester, name: str) -> float:
        """Ask `trial` for a value of the parameter `name`."""
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class IntRange(_Interval):
    """Whole numbers from `low` to `high`, both included, on a linear or a log scale."""

    low: int
    high: int

    def suggest(self, trial: Suggester, name: str) -> int:
        """Ask `trial` for a value of the parameter `name`."""
        return trial.suggest_int(name, self.low, self.high, log=self.log)


FloatDomain: TypeAlias = FloatRange | Annotated[tuple[float, ...], Field(min_length=1)]
IntDomain: TypeAlias = IntRange | Annotated[tuple[int, ...], Field(min_length=1)]


def ask(trial: Suggester, name: str, domain: FloatRange | IntRange | tuple[Any, ...]) -> Any:
    """Ask `trial` for `name`: a value in the range, or one of the listed choices."""
    if isinstance(domain, FloatRange | IntRange):
        return domain.suggest(trial, name)
    return trial.suggest_categorical(name, list(domain))
