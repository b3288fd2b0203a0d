"""Readings of the test set: made for a winner alone, and on record in the run, every one of them."""

import time
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from results.journal import read_lines
from results.leaderboard import TrialRecord
from results.predictions import kept_model, kept_probabilities
from results.run_folder import RunFolder
from results.statistics import Interval, accuracy_interval
from trainables.data.protocol import load_test, load_training
from trainables.families import load_model
from trainables.metrics import score


class Figures(BaseModel):
    """What the test set says of a model.

    Attributes:
        accuracy: Balanced accuracy.
        accuracy_ci: Its interval.
        log_loss: In nats.
        recall: Of negative, neutral, positive.
        confusion: Counts, rows true class, columns predicted class.
        n: Number of faces.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    accuracy: float
    accuracy_ci: Interval
    macro_f1: float
    log_loss: float
    recall: tuple[float, float, float]
    confusion: tuple[tuple[int, int, int], ...]
    n: int


class Reading(BaseModel):
    """One reading of the test set: a line of `test_readings.jsonl`, on disk before anyone sees it.

    Attributes:
        time: Unix time in seconds.
        trial: The winner that was read for.
        checkpoint: Its checkpoint, relative to the run.
        val_accuracy_ci: Interval of its balanced accuracy on validation.
        test: What was read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    time: float
    trial: int
    checkpoint: str
    val_accuracy_ci: Interval
    test: Figures


READING: TypeAdapter[Reading] = TypeAdapter(Reading)


def readings_of(run: RunFolder) -> list[Reading]:
    """All readings of the test set that `run` has on record, oldest first.

    Raises:
        InputError: If the record is damaged.
    """
    return read_lines(run.test_readings, READING).values


def reading_for(record: TrialRecord, readings: list[Reading]) -> Reading | None:
    """The latest of `readings` that was made for this trial's last checkpoint, None if there is none."""
    key = (record.trial, record.measurements[-1].checkpoint)
    return next((reading for reading in reversed(readings) if (reading.trial, reading.checkpoint) == key), None)


def read_test(run: RunFolder, winner: TrialRecord, cache: Path) -> Reading:
    """Read the test set for `winner`; the caller puts the reading on record.

    Raises:
        InputError: If a file of the run is missing or damaged, or the data is not that of the run.
    """
    spec = run.data_spec()
    data = load_training(spec, cache)
    run.check_data(data)
    validation = score(data.validation.labels, kept_probabilities(run, winner, data.validation.labels))
    checkpoint = winner.measurements[-1].checkpoint
    model = load_model(winner.family, kept_model(run, winner))
    test = load_test(spec, cache)
    scores = score(test.labels, model.predict_proba(test.images))
    return Reading(
        time=time.time(),
        trial=winner.trial,
        checkpoint=checkpoint,
        val_accuracy_ci=accuracy_interval(validation.confusion),
        test=Figures(accuracy_ci=accuracy_interval(scores.confusion), **asdict(scores)),
    )
