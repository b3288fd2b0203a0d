"""What has happened in a run so far: its trials, what they have spent, the incumbent."""

from collections import defaultdict
from collections.abc import Callable

from results.goals import Goals
from results.leaderboard import TrialRecord, trials_of
from results.schema import Event, Measurement, Preparation, SessionEnd, SessionStart, Status, TrialEnd
from search.budget import Patience, Spend
from search.room import Shape
from spaces.family import Family

LEFT_PAUSED = "it was paused when the search ended"  # the reason of an end that no patience was lost on


class Ledger:
    """Trials by number, what was spent, and which trial is best, kept up with the events of a run.

    Attributes:
        trials: All trials so far, by number.
        spend: What they have spent up to their last measurements, and what was made before them.
        patience: The incumbent, and how many trials ended since it was found.
    """

    def __init__(self, goals: Goals, shape: Callable[[Family], Shape]) -> None:
        """Begin with no trial.

        Args:
            goals: Say which trial is best.
            shape: Gives the CPUs and GPUs that a trial of a family occupies, for journals that do not say it.
        """
        self._shape = shape
        self.patience = Patience(goals)
        self._events: defaultdict[int, list[Event]] = defaultdict(list)
        self.trials: dict[int, TrialRecord] = {}
        self.spend = Spend(0.0, 0.0)

    @property
    def ended(self) -> int:
        """How many trials have ended, in whatever way; a paused one has not."""
        return sum(record.status is not Status.RUNNING for record in self.trials.values())

    @property
    def at_a_rung(self) -> set[int]:
        """The trials whose last known event is a measurement: where all pause at each rung, the paused ones."""
        return {trial for trial, events in self._events.items() if isinstance(events[-1], Measurement)}

    def apply(self, event: Event) -> None:
        """Take note of the next event."""
        if isinstance(event, Preparation):
            self.spend = Spend(self.spend.cpu_seconds + event.cpu_seconds, self.spend.gpu_seconds + event.gpu_seconds)
        if isinstance(event, SessionStart | SessionEnd | Preparation):
            return
        events = self._events[event.trial]
        events.append(event)
        (record,) = trials_of(events)
        if isinstance(event, Measurement):
            occupied: tuple[float, float] = self._shape(record.family)
            if event.cpus is not None:
                occupied = event.cpus, event.gpus or 0.0
            before = self.trials[event.trial].seconds
            self.spend = self.spend.plus(record.seconds - before, occupied)
        self.trials[event.trial] = record
        if isinstance(event, TrialEnd) and event.reason != LEFT_PAUSED:
            self.patience.end(record)
