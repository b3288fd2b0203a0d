"""What trials said of the validation faces, as their checkpoints keep it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from results.leaderboard import TrialRecord
from results.run_folder import RunFolder
from spaces.errors import InputError
from spaces.family import Family
from trainables.checkpoint import VALIDATION
from trainables.data.faceset import Labels
from trainables.metrics import score


def kept_model(run: RunFolder, record: TrialRecord) -> Path:
    """The folder of the model in the last checkpoint of `record`, which has a measurement.

    Raises:
        InputError: If the model was not kept.
    """
    folder = run.fetched(f"{record.measurements[-1].checkpoint}/model")
    if not folder.is_dir():
        raise InputError(
            f"{folder}: the model of trial {record.trial} is not there; a search keeps those of the best trials of "
            f"each family, as many as `models` in its plan says"
        )
    return folder


def places_with_models(run: RunFolder, finished: Sequence[TrialRecord]) -> list[int]:
    """Which of `finished`, all finished trials of `run`, best first, still have a model: the best of each family."""
    most, kept = run.plan_values().get("models", len(finished)), []
    counts: Counter[Family] = Counter()
    for place, record in enumerate(finished):
        counts[record.family] += 1
        if counts[record.family] <= most:
            kept.append(place)
    return kept


def kept_probabilities(run: RunFolder, record: TrialRecord, labels: Labels) -> NDArray[np.float32]:
    """The probabilities, (n, 3), that the last checkpoint of `record` keeps for the validation faces.

    Args:
        run: The run of the trial.
        record: The trial; it has a measurement.
        labels: The classes of the validation faces, (n,).

    Raises:
        InputError: If the file is missing, or its accuracy is not the one that the trial measured.
    """
    measured = record.measurements[-1]
    path = run.fetched(f"{measured.checkpoint}/{VALIDATION}")
    try:
        probabilities: NDArray[np.float32] = np.load(path, allow_pickle=False)
        scores = score(labels, probabilities)
    except (OSError, ValueError, EOFError, IndexError) as error:
        raise InputError(f"{path}: not the validation probabilities of trial {record.trial} ({error})") from error
    if abs(scores.accuracy - measured.val_accuracy) > 1e-6:
        raise InputError(
            f"{path}: not the validation probabilities of trial {record.trial}: they give an accuracy of "
            f"{scores.accuracy:.6f}, the trial measured {measured.val_accuracy:.6f}"
        )
    return probabilities
