"""The conditional tree of a space, found by asking it: which parameters there are, and when each is asked for."""

import math
import random
from dataclasses import dataclass
from typing import Any, TypeAlias

from spaces.domain import FloatRange, IntRange
from spaces.family import Family
from spaces.joint import JointSpace

Domain: TypeAlias = FloatRange | IntRange | tuple[Any, ...]
"""What values a parameter may take: a range, or choices."""

_DRAWS = 1000


@dataclass(frozen=True)
class Parameter:
    """One parameter of a family.

    Attributes:
        name: `family.field`, as in Optuna.
        domain: What values it may take, for people.
        when: When it is asked for, for people; empty if always.
    """

    name: str
    domain: str
    when: str


def parameters_of(space: JointSpace, family: Family) -> list[Parameter]:
    """The parameters of `family` in the order in which they are asked for.

    They are found by a thousand random draws, so one that hardly any config has may be missing.
    """
    draws = _draws(space, family)
    return [Parameter(name, _text(domain), _when(name, draws)) for name, domain in _domains(draws).items()]


def domains_of(space: JointSpace, family: Family) -> dict[str, Domain]:
    """The domain of each of `parameters_of`, by its name."""
    return _domains(_draws(space, family))


def _draws(space: JointSpace, family: Family) -> list["RandomDraw"]:
    alone = space.model_copy(update={"families": (family,)})
    draws = [RandomDraw(random.Random(number)) for number in range(_DRAWS)]  # noqa: S311 (no secret)
    for draw in draws:
        alone.suggest(draw)
    return draws


def _domains(draws: list["RandomDraw"]) -> dict[str, Domain]:
    domains: dict[str, Domain] = {}
    for draw in sorted(draws, key=lambda draw: len(draw.values), reverse=True):
        domains = {**domains, **draw.domains}
    del domains["family"]
    return domains


def _text(domain: Domain) -> str:
    if isinstance(domain, tuple):
        return ", ".join(str(choice) for choice in domain)
    return f"{domain.low:g} to {domain.high:g}{' (log)' if domain.log else ''}"


def _when(name: str, draws: list["RandomDraw"]) -> str:
    """The choice that decides whether `name` is asked for, and its values then."""
    if all(name in draw.values for draw in draws):
        return ""
    for choice in dict.fromkeys(choice for draw in draws for choice in draw.choices if choice != name):
        asked = {_word(draw, choice) for draw in draws if name in draw.values}
        if asked.isdisjoint(_word(draw, choice) for draw in draws if name not in draw.values):
            return f"{choice} is {' or '.join(sorted(asked))}"
    return "in some cases"


def _word(draw: "RandomDraw", choice: str) -> str:
    return str(draw.choices[choice]) if choice in draw.choices else "not asked for"


class RandomDraw:
    """Answers a space at random, and remembers what it was asked."""

    def __init__(self, random_source: random.Random) -> None:
        self._random = random_source
        self.values: dict[str, Any] = {}
        self.choices: dict[str, Any] = {}
        self.domains: dict[str, Domain] = {}

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        value = self._random.choice(choices)
        self.domains[name] = tuple(choices)
        self.values[name] = self.choices[name] = value
        return value

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.domains[name] = FloatRange(low=low, high=high, log=log)
        drawn = (
            math.exp(self._random.uniform(math.log(low), math.log(high))) if log else self._random.uniform(low, high)
        )
        self.values[name] = value = min(max(drawn, low), high)
        return value

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        self.domains[name] = IntRange(low=low, high=high, log=log)
        if log:
            value = math.floor(math.exp(self._random.uniform(math.log(low), math.log(high + 1))))
            value = min(max(value, low), high)
        else:
            value = self._random.randint(low, high)
        self.values[name] = value
        return value
