"""How long a model takes to predict one face."""

import time

import numpy as np

from trainables.base import Model
from trainables.data.faceset import Images

REPEATS = 15


def latency_ms(model: Model, images: Images) -> float:
    """Milliseconds to predict one face: the median over the first `REPEATS` of `images`, each alone, after a warm-up.

    Args:
        model: The model, on the threads that the process uses now.
        images: uint8, (n, 48, 48), n at least 1.
    """
    model.predict_proba(images[:1])
    taken = []
    for index in range(min(REPEATS, len(images))):
        began = time.perf_counter()
        model.predict_proba(images[index : index + 1])
        taken.append(time.perf_counter() - began)
    return 1000 * float(np.median(taken))
