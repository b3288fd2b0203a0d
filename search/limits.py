"""What a budget leaves to a search: time, means, trials."""

import math
from collections.abc import Callable, Sequence

from results.clock import searched_seconds
from results.schema import Event
from search.budget import Budget
from search.ledger import Ledger

MOST_FAILURES = 20


class Limits:
    """What is left of a budget in one session.

    Attributes:
        began: When the session began, by its clock.
    """

    def __init__(self, budget: Budget, ledger: Ledger, past: Sequence[Event], clock: Callable[[], float]) -> None:
        """Begin the session now.

        Args:
            budget: What the search may take.
            ledger: What it has taken.
            past: The events of earlier sessions, whose seconds count.
            clock: Gives the time, in seconds.
        """
        self._budget = budget
        self._ledger = ledger
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
    def are_reached(self) -> bool:
        """Whether running trials are to be left as they are: out of time or means, the target met, or all fail."""
        target, best = self._budget.target, self._ledger.patience.incumbent
        is_met = target is not None and best is not None and (best.val_accuracy or 0) >= target
        are_out = self.seconds_left <= 0 or self._ledger.spend.share(self._budget) >= 1
        return are_out or is_met or self.do_all_fail

    @property
    def do_all_fail(self) -> bool:
        """Whether so many trials failed in a row, with none measured between, that the next would fail, too."""
        return self._ledger.failures >= MOST_FAILURES

    @property
    def allow_no_trial(self) -> bool:
        """Whether no further trial may begin, though running ones go on."""
        trials, patience = self._budget.trials, self._budget.patience
        are_all = trials is not None and len(self._ledger.trials) >= trials
        return are_all or (patience is not None and self._ledger.patience.waited >= patience)

    @property
    def are_half_gone(self) -> bool:
        """Whether half of the minutes or of the means are gone."""
        minutes = self._budget.minutes
        of_time = 0.0 if minutes is None else self.elapsed / (60 * minutes)
        return max(of_time, self._ledger.spend.share(self._budget)) >= 0.5


def searching_seconds(events: Sequence[Event]) -> float:
    """Seconds of searching in `events`: of each session, from its start to its last event."""
    return next(reversed(searched_seconds(events)), 0.0)
