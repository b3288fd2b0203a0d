"""Grids: every config of a space whose values are listed."""

from typing import Any

from spaces.domain import FloatRange, IntRange
from spaces.errors import InputError
from spaces.joint import JointSpace
from spaces.points import parameters
from spaces.tree import domains_of

GRID_LIMIT = 100_000


def grid_of(space: JointSpace) -> list[dict[str, Any]]:
    """The parameters of every config of `space`, found by taking every turn of its tree once.

    Raises:
        InputError: If a parameter has a range instead of listed values, or there are more than `GRID_LIMIT` configs.
    """
    _check_listed(space)
    found, turns = [], list[int]()
    while True:
        walk = _Walk(turns)
        found.append(parameters(space.suggest(walk)))
        if len(found) > GRID_LIMIT:
            raise InputError(f"sampler grid: the space has more than {GRID_LIMIT} configs; list fewer values")
        turns = [turn for turn, _ in walk.taken]
        while turns and turns[-1] + 1 == walk.taken[len(turns) - 1][1]:
            turns.pop()
        if not turns:
            return found
        turns[-1] += 1


def _check_listed(space: JointSpace) -> None:
    domains = {name: each for family in space.families for name, each in domains_of(space, family).items()}
    _refuse({name: (each.low, each.high) for name, each in domains.items() if isinstance(each, FloatRange | IntRange)})


def _refuse(domains: dict[str, tuple[float, float]]) -> None:
    """Refuse those of `domains` that are more than one number."""
    ranges = {name: (low, high) for name, (low, high) in domains.items() if low < high}
    for first, (low, high) in ranges.items():
        named = ", ".join(f"space.{name} ({least:g} to {most:g})" for name, (least, most) in ranges.items())
        raise InputError(
            f"sampler grid: a grid needs listed values, but ranges are given for {named}; list those to try, for "
            f"example space.{first}: [{low:g}, {high:g}]"
        )


class _Walk:
    """Answers a space by the turns it is given, then always by the first choice."""

    def __init__(self, turns: list[int]) -> None:
        self._turns = turns
        self.taken: list[tuple[int, int]] = []

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        place = len(self.taken)
        turn = self._turns[place] if place < len(self._turns) else 0
        self.taken.append((turn, len(choices)))
        return choices[turn]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        _refuse({name: (low, high)})
        return low

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        _refuse({name: (low, high)})
        return low
