"""What a report tells: everything is read from the run folder once, and from the data source if it still can be."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.clock import searched_seconds
from results.describe import describe
from results.front import pareto_front
from results.goals import TIMED, Goals
from results.journal import read_events
from results.leaderboard import TrialRecord, figures, ranked, record_json, trials_of
from results.predictions import kept_probabilities
from results.readings import Reading, reading_for, readings_of
from results.run_folder import RunFolder
from results.schema import Event, SessionStart, Status
from results.selection import Selection, eligible, kept_selection
from results.statistics import optimism
from spaces.errors import InputError
from spaces.family import Family
from trainables.data.faceset import Faces
from trainables.data.protocol import load_training


@dataclass(frozen=True)
class Validation:
    """What the finished trials said of the validation faces.

    Attributes:
        faces: The validation faces, n of them.
        probabilities: What the winner said, (n, 3).
        optimism: By how much the best accuracy is expected to be too high, None where classes are too small to tell.
    """

    faces: Faces
    probabilities: NDArray[np.float32]
    optimism: float | None


@dataclass(frozen=True)
class Facts:
    """One run, as a report tells it.

    Attributes:
        run: The run.
        events: What happened in it.
        records: Its trials, best first.
        selection: The last selection if no further trial has finished since, else None.
        readings: All readings of the test set on record.
        validation: What was said of the validation faces, or why that cannot be told.
    """

    run: RunFolder
    events: Sequence[Event]
    records: Sequence[TrialRecord]
    selection: Selection | None
    readings: Sequence[Reading]
    validation: Validation | str

    @cached_property
    def finished(self) -> list[TrialRecord]:
        """The trials that can win: at full fidelity and within all constraints; best first."""
        return eligible(self.records, self.goals)

    @property
    def winner(self) -> TrialRecord | None:
        """The winner of the selection, else the best trial at full fidelity, None while there is none."""
        return _winner(self.finished, self.selection)

    @property
    def reading(self) -> Reading | None:
        """The reading of the test set for the winner, None if it has not been read for it."""
        return reading_for(self.winner, list(self.readings)) if self.winner else None

    @cached_property
    def goals(self) -> Goals:
        """What the run was for."""
        return self.run.goals()

    @property
    def footprint(self) -> list[str]:
        """Of latency and size those of which the plan speaks."""
        return [name for name in self.goals.measures if name in TIMED]

    @cached_property
    def front(self) -> list[TrialRecord]:
        """The Pareto front where there are several objectives, else none."""
        return pareto_front(self.records, self.goals) if len(self.goals.objectives) > 1 else []

    @cached_property
    def seconds(self) -> list[float]:
        """Seconds of searching up to each event."""
        return searched_seconds(self.events)

    def sentences(self) -> list[str]:
        """The summary in words."""
        return [self._searched(), self._best(), *self._optimism(), *self._selected(), *self._test()]

    def _searched(self) -> str:
        tried = {record.family for record in self.records}
        families = ", ".join(family for family in Family if family in tried) or "nothing"
        sessions = max(1, sum(isinstance(event, SessionStart) for event in self.events))
        counts = Counter(record.status for record in self.records)
        words = {
            Status.FINISHED: "finished",
            Status.STOPPED: "stopped early",
            Status.FAILED: "failed",
            Status.RUNNING: "unfinished",
        }
        ends = ", ".join(f"{counts[status]:,} {word}" for status, word in words.items() if counts[status])
        return (
            f"The search tried {families} on {self.run.data_spec().source} for "
            f"{duration(self.seconds[-1] if self.seconds else 0)} in {counted(sessions, 'session')}: "
            f"{counted(len(self.records), 'trial')}{f' ({ends})' if ends else ''}."
        )

    def _best(self) -> str:
        if self.finished:
            best = self.finished[0]
            accuracy, comma, others = figures(record_json(best, self.goals), self.goals).partition(", ")
            return (
                f"The best trial at full fidelity is trial {best.trial}, {best.family} {describe(best.config)}: "
                f"balanced accuracy {accuracy} on validation{comma}{others}."
            )
        if any(record.status is Status.FINISHED for record in self.records):
            return f"No trial at full fidelity is{self.goals.within}."
        if any(record.measurements for record in self.records):
            best = max(self.records, key=lambda record: record.fidelity)
            return (
                f"No trial has reached full fidelity yet; the furthest is trial {best.trial}, {best.family}, with a "
                f"balanced accuracy of {best.val_accuracy:.4f} on validation at fidelity {best.fidelity}."
            )
        return "No trial has been measured yet."

    def _optimism(self) -> list[str]:
        # What is picked for something else is not picked for an accuracy that is too high.
        if not self.finished or self.goals.objectives[0] != "val_accuracy":
            return []
        if self.selection:
            expected: float | None = self.selection.compared["optimism"]["expected"]
        else:
            expected = None if isinstance(self.validation, str) else self.validation.optimism
        if expected is None:
            return ["It was picked for its validation accuracy, which is therefore too high; by how much is not known."]
        accuracy = max(record.val_accuracy or 0.0 for record in self.finished)
        return [
            f"As the best of {counted(len(self.finished), 'finished trial')} on the same faces, its accuracy is "
            f"expected to be {expected:.4f} too high: rather {accuracy - expected:.4f}."
        ]

    def _selected(self) -> list[str]:
        if not self.selection or not self.winner:
            return []
        compared = counted(len(self.selection.compared["candidates"]), "candidate")
        return [f"`select` compared {compared}; the winner is trial {self.winner.trial}, {self.winner.family}."]

    def _test(self) -> list[str]:
        if not self.readings:
            return ["The test set has not been read."]
        times = "once" if len(self.readings) == 1 else f"{len(self.readings)} times"
        lines = [f"The test set has been read {times}."]
        if self.reading:
            test, (low, high) = self.reading.test, self.reading.test.accuracy_ci
            lines.append(
                f"Trial {self.reading.trial} has a balanced accuracy of {test.accuracy:.4f} [{low:.4f}, {high:.4f}] on "
                f"its {test.n:,} faces (95 % interval)."
            )
        elif self.winner:
            lines.append(f"It has not been read for trial {self.winner.trial}.")
        if len(self.readings) > 1:
            lines.append("Choosing between these readings would make the chosen one optimistic.")
        return lines


def facts_of(run: RunFolder, cache: Path) -> Facts:
    """Read `run`; parsed data is kept in `cache`. The test set is not read.

    Raises:
        InputError: If the plan, the measurements, the selection or the readings are damaged.
    """
    events = read_events(run.measurements)
    goals = run.goals()
    records = ranked(trials_of(events, run.location), goals)
    finished = eligible(records, goals)
    selection = kept_selection(run, finished)
    validation = _validation(run, finished, selection, cache)
    return Facts(run, events, records, selection, readings_of(run), validation)


def duration(seconds: float) -> str:
    """`seconds` for people: `59 s`, `12 min 5 s`, `3 h 2 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def counted(n: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _winner(finished: Sequence[TrialRecord], selection: Selection | None) -> TrialRecord | None:
    if selection:
        return next(record for record in finished if record.trial == selection.winner)
    return next(iter(finished), None)


def _validation(
    run: RunFolder, finished: Sequence[TrialRecord], selection: Selection | None, cache: Path
) -> Validation | str:
    winner = _winner(finished, selection)
    if winner is None:
        return f"No trial has finished yet{run.goals().within}."
    if run.plan_values().get("fake"):
        return "The trials of this run were fake: they waited instead of learning."
    try:
        data = load_training(run.data_spec(), cache)
        run.check_data(data)
        faces = data.validation
        said = {record.trial: kept_probabilities(run, record, faces.labels) for record in finished}
    except InputError as error:
        return f"This part needs the validation faces and what was said of them: {error}."
    correct = np.stack([probabilities.argmax(axis=1) == faces.labels for probabilities in said.values()])
    return Validation(faces, said[winner.trial], _expected(faces.labels, correct))


def _expected(labels: NDArray[Any], correct: NDArray[np.bool_]) -> float | None:
    try:
        return optimism(labels, correct)
    except ValueError:
        return None
