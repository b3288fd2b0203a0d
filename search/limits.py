"""What a budget leaves to a search: time, means, trials."""

import math
from collections.abc import Callable, Iterable, Sequence

from results.clock import searched_seconds
from results.schema import Event
from search.ledger import Ledger
from search.plan import Plan
from search.room import Room

MOST_FAILURES = 20
_LET_RUN = ("trials", "patience")  # limits that let running trials go on


class Failures:
    """Counts trials of a session that fail one after the other, none of which measured anything in between."""

    def __init__(self) -> None:
        self._count = 0
        self._older: frozenset[int] = frozenset()

    def add(self, running: Iterable[int]) -> None:
        """A trial failed; `running` are those that have or wait for a worker now."""
        self._count += 1
        if self._count <= MOST_FAILURES:
            self._older = frozenset(running)

    def clear(self) -> None:
        """A trial measured something: whatever failed before, trials can work."""
        self._count = 0

    def are_all(self, running: Iterable[int]) -> bool:
        """Whether the next would fail, too: so many did, and of what had begun by then nothing is `running` still."""
        return self._count >= MOST_FAILURES and self._older.isdisjoint(running)


class Limits:
    """What is left of a budget in one session.

    Attributes:
        began: When the session began, by its clock.
    """

    def __init__(
        self, plan: Plan, ledger: Ledger, room: Room, past: Sequence[Event], clock: Callable[[], float]
    ) -> None:
        """Begin the session now.

        Args:
            plan: Its budget says what the search may take, its goals what the budget's target means.
            ledger: What it has taken.
            room: What trials occupy at once.
            past: The events of earlier sessions, whose seconds count.
            clock: Gives the time, in seconds.
        """
        self._budget, self._goals = plan.budget, plan.goals
        self._ledger = ledger
        self._room = room
        self._past_seconds = searching_seconds(past)
        self._clock = clock
        self.began = clock()

    @property
    def elapsed(self) -> float:
        """Seconds of searching, in this session and earlier ones."""
        return self._past_seconds + self._clock() - self.began

    @property
    def seconds_left(self) -> float:
        """Seconds of searching that are left, infinite without a limit."""
        minutes = self._budget.minutes
        return math.inf if minutes is None else 60 * minutes - self.elapsed

    @property
    def seconds_to_go(self) -> float:
        """Seconds until time or means are gone while as much as can be is busy; infinite without a limit."""
        return min(self.seconds_left, self._ledger.spend.seconds_left(self._budget, self._room.busiest))

    @property
    def reached(self) -> list[str]:
        """The fields of the budget that allow no more, or no further trial."""
        budget, spend, best = self._budget, self._ledger.spend, self._ledger.patience.incumbent
        taken = {
            "trials": len(self._ledger.trials),
            "patience": self._ledger.patience.waited,
            **spend._asdict(),
            "cost": spend.cost(budget),
        }
        limits = {name: getattr(budget, name) for name in taken}
        over = [name for name, limit in limits.items() if limit is not None and taken[name] >= limit]
        is_met = (
            budget.target is not None and best is not None and self._goals.reach(best.measurements[-1], budget.target)
        )
        return [*over, *(["minutes"] if self.seconds_left <= 0 else []), *(["target"] if is_met else [])]

    @property
    def are_reached(self) -> bool:
        """Whether running trials are to be left as they are: out of time or means, or the target met."""
        return any(name not in _LET_RUN for name in self.reached)

    @property
    def allow_no_trial(self) -> bool:
        """Whether no further trial may begin, though running ones go on."""
        return any(name in _LET_RUN for name in self.reached)

    @property
    def are_half_gone(self) -> bool:
        """Whether half of the minutes or of the means are gone."""
        minutes = self._budget.minutes
        of_time = 0.0 if minutes is None else self.elapsed / (60 * minutes)
        return max(of_time, self._ledger.spend.share(self._budget)) >= 0.5


def searching_seconds(events: Sequence[Event]) -> float:
    """Seconds of searching in `events`: of each session, from its start to its last event."""
    return next(reversed(searched_seconds(events)), 0.0)
