"""Honest selection: candidates are compared, one wins, and the winner alone meets the test set, once.

What was compared and found is kept in the run, in `selection/selection.json`; it holds as long as no further trial
finishes, and `export` goes by it.
"""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from results.comparison import Rules, compare
from results.goals import Goals, Objective
from results.journal import LineWriter
from results.leaderboard import TrialRecord, ranked, record_json, trials_in
from results.readings import READING, read_test, reading_for, readings_of
from results.run_folder import RunFolder, write_whole
from results.schema import Status
from spaces.errors import InputError
from trainables.files import read_form


class Selection(BaseModel):
    """What is kept of a selection.

    Attributes:
        rules: How it was made.
        finished: The checkpoints of the trials that had finished by then, sorted.
        winner: The trial that won.
        compared: What `compare` returned.
        objective: The run's first objective, by which it went; earlier versions went by accuracy and did not say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: Rules
    finished: tuple[str, ...]
    winner: int
    compared: dict[str, Any]
    objective: Objective = "val_accuracy"


def select(
    run: RunFolder, cache: Path, rules: Rules = Rules(), say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Choose a winner of `run` and read the test set for it, unless that reading is on record already.

    Args:
        run: The run.
        cache: The node's folder for parsed data and pretrained weights.
        rules: How to select.
        say: Shows a person what is under way.

    Returns:
        `winner`, a trial as `results` gives it; `objective`, the first one; what `compare` returns; `test`, the fields
        of `Figures`; `readings`, how many the run has on record now; `read_again`, whether this call read the test set
        though it had been read before; `warning`, a sentence once `readings` is above 1, else None.

    Raises:
        InputError: If no trial has finished, a file is missing or damaged, or the data is not that of the run.
    """
    _finished(run)  # before a folder is made
    with _alone(run):
        return _select(run, cache, rules, say)


def _select(run: RunFolder, cache: Path, rules: Rules, say: Callable[[str], None]) -> dict[str, Any]:
    finished = _finished(run)
    kept = kept_selection(run, finished)
    goals, checkpoints = run.goals(), _checkpoints(finished)
    if kept is None or kept.rules != rules:
        trial, compared = compare(run, finished, cache, rules, say)
        objective = goals.objectives[0]
        kept = Selection(rules=rules, finished=checkpoints, winner=trial, compared=compared, objective=objective)
        write_whole(run.selection / "selection.json", kept.model_dump_json(indent=2))
    winner = next(record for record in finished if record.trial == kept.winner)
    readings = readings_of(run)
    reading = reading_for(winner, readings)
    read_again = reading is None and bool(readings)
    if reading is None:
        reading = read_test(run, winner, cache)
        with LineWriter(run.test_readings, READING) as record:
            record.append(reading)
        readings.append(reading)
    return {
        "winner": record_json(winner, goals),
        "candidates": kept.compared["candidates"],
        "mcnemar_p": kept.compared["mcnemar_p"],
        "test": reading.test.model_dump(mode="json"),
        "objective": kept.objective,
        "readings": len(readings),
        "read_again": read_again,
        "warning": _warning(len(readings)),
        **kept.compared,
    }


def selected(run: RunFolder) -> TrialRecord:
    """The winner of the last selection if no further trial has finished since, else the incumbent.

    Raises:
        InputError: If no trial has reached full fidelity yet, or the record of the selection is damaged.
    """
    finished = _finished(run)
    kept = kept_selection(run, finished)
    if kept is None:
        return finished[0]
    return next(record for record in finished if record.trial == kept.winner)


def last_rules(run: RunFolder) -> Rules | None:
    """The rules of the last selection of `run` if no further trial has finished since, else None.

    Raises:
        InputError: If no trial has finished, or the record of the selection is damaged.
    """
    kept = kept_selection(run, _finished(run))
    return None if kept is None else kept.rules


def comparison_of(run: RunFolder, winner: TrialRecord) -> dict[str, Any] | None:
    """What the last selection compared if it chose `winner` and still holds, see `compare`, else None."""
    kept = kept_selection(run, _finished(run))
    return None if kept is None or kept.winner != winner.trial else kept.compared


def selected_ensemble(run: RunFolder) -> tuple[list[TrialRecord], dict[str, Any]]:
    """The trials in the ensemble of the last selection, in the order of its members, and what was found of it.

    Raises:
        InputError: If there is none, or further trials have finished since.
    """
    finished = _finished(run)
    kept = kept_selection(run, finished)
    if kept is None or kept.compared.get("ensemble") is None:
        raise InputError(
            f"{run.location}: no ensemble of its finished trials; `fertune select RUN --ensemble` makes one"
        )
    found: dict[str, Any] = kept.compared["ensemble"]
    by_trial = {record.trial: record for record in finished}
    return [by_trial[part["trial"]] for part in found["members"]], found


@contextmanager
def _alone(run: RunFolder) -> Iterator[None]:
    """Wait for any other selection of `run`, so that what it refits and reads is found instead of made twice."""
    try:
        run.selection.mkdir(exist_ok=True)
        lock = (run.selection / ".lock").open("w")
    except OSError as error:
        raise InputError(f"{run.selection}: a selection cannot be kept here ({error.strerror or error})") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def eligible(records: Sequence[TrialRecord], goals: Goals) -> list[TrialRecord]:
    """Those of `records` that can win: at full fidelity and within all constraints; best first."""
    finished = [record for record in ranked(records, goals) if record.status is Status.FINISHED and record.measurements]
    return [record for record in finished if goals.are_kept_by(record.measurements[-1])]


def _finished(run: RunFolder) -> list[TrialRecord]:
    """The trials of `run` that can win, best first; there is one at least."""
    records, goals = trials_in([run]), run.goals()
    finished = eligible(records, goals)
    if not finished:
        raise InputError(
            f"{run.location}: none of its {len(records)} trials has finished (reached full fidelity) yet{goals.within}"
        )
    return finished


def _checkpoints(finished: Sequence[TrialRecord]) -> tuple[str, ...]:
    return tuple(sorted(record.measurements[-1].checkpoint for record in finished))


def kept_selection(run: RunFolder, finished: Sequence[TrialRecord]) -> Selection | None:
    """What is kept of the last selection of `run`; None if there is none, or it does not hold for `finished`."""
    path = run.selection / "selection.json"
    if not path.exists():
        return None
    kept = read_form(Selection, path)
    holds = kept.finished == _checkpoints(finished) and kept.objective == run.goals().objectives[0]
    return kept if holds else None


def _warning(readings: int) -> str | None:
    if readings < 2:
        return None
    return (
        f"the test set has been read {readings} times in this run, each time for another winner: "
        f"choosing between these figures would make the chosen one optimistic"
    )
