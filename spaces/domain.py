"""Domains: what values one parameter may take, and how a trial is asked for one."""

from typing import Annotated, Any, ClassVar, Protocol, Self, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator


class Suggester(Protocol):
    """The part of `optuna.trial.BaseTrial` that a space needs (so that spaces do not import Optuna)."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...
    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


class FloatRange(BaseModel):
    """Real numbers from `low` to `high`, both included, on a linear or a log scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_interval(self.low, self.high, self.log)
        return self

    def suggest(self, trial: Suggester, name: str) -> float:
        """Ask `trial` for a value of the parameter `name`."""
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class IntRange(BaseModel):
    """Whole numbers from `low` to `high`, both included, on a linear or a log scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_interval(self.low, self.high, self.log)
        return self

    def suggest(self, trial: Suggester, name: str) -> int:
        """Ask `trial` for a value of the parameter `name`."""
        return trial.suggest_int(name, self.low, self.high, log=self.log)


def _check_interval(low: float, high: float, log: bool) -> None:
    if low > high:
        raise ValueError(f"low must not be above high; received low {low}, high {high}")
    if log and low <= 0:
        raise ValueError(f"a log scale needs low above 0; received low {low}")


def _shape(value: Any) -> str:
    return "range" if isinstance(value, dict | FloatRange | IntRange) else "choices"


def _listed(value: Any) -> Any:
    """A single value in a plan means a list of one: the parameter is fixed."""
    return [value] if isinstance(value, bool | int | float | str) else value


T = TypeVar("T")
Choices: TypeAlias = Annotated[tuple[T, ...], Field(min_length=1), BeforeValidator(_listed)]


FloatDomain: TypeAlias = Annotated[
    Annotated[FloatRange, Tag("range")] | Annotated[tuple[float, ...], Field(min_length=1), Tag("choices")],
    Discriminator(_shape),
    BeforeValidator(_listed),
]
IntDomain: TypeAlias = Annotated[
    Annotated[IntRange, Tag("range")] | Annotated[tuple[int, ...], Field(min_length=1), Tag("choices")],
    Discriminator(_shape),
    BeforeValidator(_listed),
]


def ask(trial: Suggester, name: str, domain: FloatRange | IntRange | tuple[Any, ...]) -> Any:
    """Ask `trial` for `name`: a value in the range, or one of the listed choices."""
    if isinstance(domain, FloatRange | IntRange):
        return domain.suggest(trial, name)
    return trial.suggest_categorical(name, list(domain))


class Space(BaseModel):
    """What may be tried of one config class; a field names the domain of the config's field of the same name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    config: ClassVar[type[BaseModel]]

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        """Every value that could be suggested must be one the config accepts, so that no search fails halfway."""
        for name in type(self).model_fields:
            domain = getattr(self, name)
            if isinstance(domain, FloatRange | IntRange):
                values: tuple[Any, ...] = (domain.low, domain.high)
            elif isinstance(domain, tuple):
                values = domain
            else:
                continue
            for value in values:
                try:
                    self.config(**{name: value})
                except ValidationError as error:
                    raise ValueError(f"{name} allows {value!r}, but {_rule(error)}") from None
        return self


def _rule(error: ValidationError) -> str:
    message = error.errors()[0]["msg"]
    return message[0].lower() + message[1:]
