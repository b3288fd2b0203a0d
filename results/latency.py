"""How long models take to tell one face, the figure that someone who waits for an answer feels."""

import time
from collections.abc import Sequence

import numpy as np

from results.leaderboard import TrialRecord
from results.predictions import kept_model
from results.run_folder import RunFolder
from trainables.data.faceset import Images
from trainables.families import load_model

REPEATS = 9


def latencies(run: RunFolder, records: Sequence[TrialRecord], images: Images) -> list[float]:
    """Milliseconds that the model of each of `records` takes for one face, on this machine, as busy as it is.

    Each is the median of `REPEATS` predictions of one face after a first that is not counted. Models are read one
    after another, so that memory holds one at a time.

    Args:
        run: The run of the trials.
        records: Its trials; they have measurements.
        images: Faces to predict, uint8, (n, 48, 48), at least one.

    Raises:
        InputError: If a model is missing or cannot be read.
    """
    found = []
    for record in records:
        model = load_model(record.family, kept_model(run, record))
        model.predict_proba(images[:1])
        seconds = []
        for repeat in range(REPEATS):
            face = images[repeat % len(images)][None]
            began = time.perf_counter()
            model.predict_proba(face)
            seconds.append(time.perf_counter() - began)
        found.append(1000 * float(np.median(seconds)))
    return found
