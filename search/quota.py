"""Which models a search keeps: of each family the best ones, and those of trials that still run.

What selection and ensembling need of the others, their validation probabilities, is always kept.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from results.front import pareto_front
from results.goals import Goals
from results.leaderboard import ACCURACY, TrialRecord, rank
from results.schema import Status
from spaces.family import Family
from trainables.remote_checkpoint import checkpoints_at
from trainables.storage import StorageError


class Quota:
    """Removes the models of ended trials beyond the best `most` of each family.

    Which are best the leaderboard says (`ranked`), so that the incumbent is always among them. With several objectives
    those on the Pareto front are kept besides, for the worst of them by the first may be the one that is wanted.

    Args:
        folder: The run's folder of checkpoints, a path or URL.
        most: Models to keep of each family.
        record_of: Gives a trial's record by its number.
        goals: What the search is for.
    """

    def __init__(
        self, folder: str, most: int, record_of: Callable[[int], TrialRecord], goals: Goals = ACCURACY
    ) -> None:
        self._folder = folder
        self._goals = goals
        self._most = most
        self._record_of = record_of
        self._kept: dict[Family, list[TrialRecord]] = defaultdict(list)
        self._due: list[int] = []

    def replay(self, records: Iterable[TrialRecord]) -> None:
        """Take note of the trials that ended in earlier sessions."""
        for record in records:
            if record.status is not Status.RUNNING:
                self.end(record.trial)

    def end(self, trial: int) -> None:
        """A trial ended: keep its model or another's in its place, and remove one that is too many.

        What storage does not do now waits for the next trial's end, the search's, or a resume.
        """
        self._due.append(trial)
        self.settle()

    def settle(self) -> None:
        """Do what is due, as far as storage does it now."""
        while self._due:
            try:
                self._take_in(self._due[0])
            except StorageError:
                return
            self._due.pop(0)

    def _take_in(self, trial: int) -> None:
        record, checkpoints = self._record_of(trial), checkpoints_at(self._folder, trial)
        if not checkpoints.latest():
            return  # it failed before its first rung
        checkpoints.drop_state()
        kept = self._kept[record.family]
        if record not in kept:
            kept.append(record)
        on_front = (
            {each.trial for each in pareto_front(kept, self._goals)} if len(self._goals.objectives) > 1 else set()
        )
        for worst in sorted(kept, key=lambda each: rank(each, self._goals))[self._most :]:
            if worst.trial not in on_front:
                checkpoints_at(self._folder, worst.trial).drop_model()
                kept.remove(worst)
