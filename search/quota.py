"""Which models a search keeps: of each family the best ones, and those of trials that still run.

What selection and ensembling need of the others, their validation probabilities, is always kept.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from results.leaderboard import TrialRecord
from results.schema import Status
from spaces.family import Family
from trainables.checkpoint import TrialCheckpoints


class Quota:
    """Removes the models of ended trials beyond the best `most` of each family.

    A trial at full fidelity counts for more than one that was stopped, and among these the one that got further.

    Args:
        folder: The run's folder of checkpoints.
        most: Models to keep of each family.
        record_of: Gives a trial's record by its number.
    """

    def __init__(self, folder: Path, most: int, record_of: Callable[[int], TrialRecord]) -> None:
        self._folder = folder
        self._most = most
        self._record_of = record_of
        self._kept: dict[Family, list[tuple[tuple[float, ...], int]]] = defaultdict(list)

    def replay(self, records: Iterable[TrialRecord]) -> None:
        """Take note of the trials that ended in earlier sessions."""
        for record in records:
            if record.status is not Status.RUNNING:
                self.end(record.trial)

    def end(self, trial: int) -> None:
        """A trial ended: keep its model or another's in its place, and remove one that is too many."""
        record, checkpoints = self._record_of(trial), TrialCheckpoints(self._folder, trial)
        if not checkpoints.latest():
            return  # it failed before its first rung
        checkpoints.drop_state()
        kept = self._kept[record.family]
        heapq.heappush(kept, (_worth(record), -trial))
        if len(kept) > self._most:
            TrialCheckpoints(self._folder, -heapq.heappop(kept)[1]).drop_model()


def _worth(record: TrialRecord) -> tuple[float, ...]:
    return (record.status is Status.FINISHED, record.fidelity, record.val_accuracy or 0.0)
