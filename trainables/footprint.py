"""What a model costs its user: how long a prediction takes, and how large its files are."""

import tempfile
import time
from pathlib import Path

import numpy as np

from trainables.base import Model
from trainables.data.faceset import Images

REPEATS = 15


def measure_footprint(model: Model, images: Images) -> dict[str, float]:
    """`latency_ms`, the milliseconds to predict one face, and `model_mb`, the megabytes of the model's files.

    The latency is the median over the first `REPEATS` of `images`, each predicted alone, after a warm-up.

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
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return {"latency_ms": 1000 * float(np.median(taken)), "model_mb": size / 1e6}
