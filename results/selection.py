"""Honest selection: the incumbent meets the test set once, and every reading of the test set is on record.

The intervals are 95 % percentile bootstrap intervals (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 13).
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, TypeAdapter
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from results.describe import describe
from results.journal import LineWriter, read_lines
from results.leaderboard import TrialRecord, incumbent, record_json, trials_in
from results.run_folder import RunFolder
from spaces.errors import InputError
from trainables.checkpoint import VALIDATION
from trainables.data.faceset import CLASSES, Faces
from trainables.data.protocol import load_test, load_training
from trainables.families import load_model
from trainables.metrics import Scores, score

RESAMPLES = 2000
BOOTSTRAP_SEED = 0

Interval = tuple[float, float]


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
        trial: The incumbent that was read for.
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


def accuracy_interval(confusion: ArrayLike) -> Interval:
    """Bootstrap interval of balanced accuracy, resampled within each class.

    Drawing n faces of a class with replacement and counting the hits is one binomial draw with the class's recall, so
    no face is drawn one by one. The seed is fixed: the same counts give the same interval.

    Args:
        confusion: Counts, (3, 3), rows true class; every class needs a face.

    Returns:
        The 2.5 and 97.5 percentiles of `RESAMPLES` resamples.
    """
    counts = np.asarray(confusion)
    faces = counts.sum(axis=1)
    hits = np.random.default_rng(BOOTSTRAP_SEED).binomial(faces, counts.diagonal() / faces, (RESAMPLES, len(faces)))
    low, high = np.percentile((hits / faces).mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def incumbent_of(run: RunFolder) -> TrialRecord:
    """The incumbent of `run`.

    Raises:
        InputError: If no trial has reached full fidelity yet.
    """
    records = trials_in([run])
    best = incumbent(records)
    if best is None or not best.measurements:
        raise InputError(f"{run.path}: none of its {len(records)} trials has finished (reached full fidelity) yet")
    return best


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


def select(run: RunFolder, cache: Path) -> dict[str, Any]:
    """Choose the incumbent of `run` and read the test set for it, unless that reading is on record already.

    Args:
        run: The run.
        cache: Folder for parsed data.

    Returns:
        `winner`, a trial as `results` gives it; `candidates`, one, the winner, with `trial`, `family`, `config`,
        `val_accuracy_mean`, `val_accuracy_ci` and `seeds`; `mcnemar_p`, None since there is nothing to compare with;
        `test`, the fields of `Figures`; `readings`, how many the run has on record now; `read_again`, whether this call
        read the test set though it had been read before; `warning`, a sentence once `readings` is above 1, else None.

    Raises:
        InputError: If no trial has finished, a file is missing or damaged, or the data is not that of the run.
    """
    winner = incumbent_of(run)
    readings = readings_of(run)
    reading = reading_for(winner, readings)
    read_again = reading is None and bool(readings)
    if reading is None:
        reading = _read_test(run, winner, cache)
        with LineWriter(run.test_readings, READING) as record:
            record.append(reading)
        readings.append(reading)
    return {
        "winner": record_json(winner),
        "candidates": [_candidate(winner, reading)],
        "mcnemar_p": None,
        "test": reading.test.model_dump(mode="json"),
        "readings": len(readings),
        "read_again": read_again,
        "warning": _warning(len(readings)),
    }


def _candidate(winner: TrialRecord, reading: Reading) -> dict[str, Any]:
    return {
        "trial": winner.trial,
        "family": winner.family,
        "config": winner.config,
        "val_accuracy_mean": winner.val_accuracy,
        "val_accuracy_ci": list(reading.val_accuracy_ci),
        "seeds": [winner.seed],
    }


def _warning(readings: int) -> str | None:
    if readings < 2:
        return None
    return (
        f"the test set has been read {readings} times in this run, each time for another incumbent: "
        f"choosing between these figures would make the chosen one optimistic"
    )


def _read_test(run: RunFolder, winner: TrialRecord, cache: Path) -> Reading:
    spec = run.data_spec()
    data = load_training(spec, cache)
    run.check_data(data)
    validation = _validation_scores(run, winner, data.validation)
    checkpoint = winner.measurements[-1].checkpoint
    model = load_model(winner.family, run.path / checkpoint / "model")
    test = load_test(spec, cache)
    scores = score(test.labels, model.predict_proba(test.images))
    return Reading(
        time=time.time(),
        trial=winner.trial,
        checkpoint=checkpoint,
        val_accuracy_ci=accuracy_interval(validation.confusion),
        test=Figures(accuracy_ci=accuracy_interval(scores.confusion), **asdict(scores)),
    )


def _validation_scores(run: RunFolder, winner: TrialRecord, validation: Faces) -> Scores:
    measured = winner.measurements[-1]
    path = run.path / measured.checkpoint / VALIDATION
    try:
        scores = score(validation.labels, np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError, IndexError) as error:
        raise InputError(f"{path}: not the validation probabilities of trial {winner.trial} ({error})") from error
    if abs(scores.accuracy - measured.val_accuracy) > 1e-6:
        raise InputError(
            f"{path}: not the validation probabilities of trial {winner.trial}: they give an accuracy of "
            f"{scores.accuracy:.6f}, the trial measured {measured.val_accuracy:.6f}"
        )
    return scores


def render(selection: dict[str, Any]) -> Group:
    """What `select` returned, for people: the winner, its figures with intervals, recall and confusion by class."""
    winner, test = selection["winner"], selection["test"]
    candidate = selection["candidates"][0]
    lines = [
        f"winner: trial {winner['trial']}, {winner['family']}, {describe(winner['config'])}",
        f"validation accuracy {with_interval(candidate['val_accuracy_mean'], candidate['val_accuracy_ci'])}",
        f"test accuracy {with_interval(test['accuracy'], test['accuracy_ci'])}, macro-F1 {test['macro_f1']:.4f}, "
        f"{test['n']:,} faces (95 % bootstrap intervals)",
    ]
    confusion = Table(title="test faces (rows true, columns predicted)", box=box.SIMPLE_HEAD, show_edge=False)
    confusion.add_column("")
    for heading in (*CLASSES, "recall"):
        confusion.add_column(heading, justify="right")
    for name, counts, recall in zip(CLASSES, test["confusion"], test["recall"], strict=True):
        confusion.add_row(name, *(str(count) for count in counts), f"{recall:.4f}")
    warning = [f"warning: {selection['warning']}"] if selection["warning"] else []
    return Group(*(Text(line) for line in lines), confusion, *(Text(line, style="bold red") for line in warning))


def with_interval(value: float, interval: Sequence[float] | None) -> str:
    """A share with its interval, for people: `0.7121 [0.7003, 0.7236]`."""
    return f"{value:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")
