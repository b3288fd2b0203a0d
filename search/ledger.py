"""What has happened in a run so far: its trials, what they have spent, the incumbent."""

from collections import defaultdict

from results.goals import Goals
from results.leaderboard import TrialRecord, trials_of
from results.schema import Event, Measurement, Status, TrialEnd, TrialStart
from search.budget import Patience, Spend
from search.room import Room


class Ledger:
    """Trials by number, what they have spent, and which of them is best, kept up with the events of a run.

    Attributes:
        trials: All trials so far, by number.
        spend: What they have spent.
    """

    def __init__(self, goals: Goals, room: Room) -> None:
        """Begin with no trial; `goals` say which is best, `room` what a trial occupies."""
        self._room = room
        self._patience = Patience(goals)
        self._events: defaultdict[int, list[Event]] = defaultdict(list)
        self.trials: dict[int, TrialRecord] = {}
        self.spend = Spend(0.0, 0.0)

    @property
    def incumbent(self) -> TrialRecord | None:
        """The best trial at full fidelity, None while there is none."""
        return self._patience.incumbent

    @property
    def waited(self) -> int:
        """How many trials ended since the incumbent was found."""
        return self._patience.waited

    @property
    def ended(self) -> int:
        """How many trials have ended, in whatever way; a paused one has not."""
        return sum(record.status is not Status.RUNNING for record in self.trials.values())

    def apply(self, event: TrialStart | Measurement | TrialEnd) -> None:
        """Take note of the next event."""
        events = self._events[event.trial]
        events.append(event)
        (record,) = trials_of(events)
        before = self.trials[event.trial].seconds if event.trial in self.trials else 0.0
        self.spend = self.spend.plus(record.seconds - before, self._room.shape(record.family))
        self.trials[event.trial] = record
        if isinstance(event, TrialEnd):
            self._patience.end(record)
