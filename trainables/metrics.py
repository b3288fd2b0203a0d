"""Scores of predicted probabilities, computed alike for every family, split and command."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.faceset import CLASSES


@dataclass(frozen=True)
class Scores:
    """How well probabilities fit labels.

    Attributes:
        accuracy: Balanced accuracy, the mean of the three recalls.
        macro_f1: Mean of the three F1 scores.
        log_loss: Mean negative log-probability of the true class, in nats, each image counted once.
        recall: Recall of each class, in the order of `CLASSES`.
        confusion: Counts, rows true class, columns predicted class.
        n: Number of images.
    """

    accuracy: float
    macro_f1: float
    log_loss: float
    recall: tuple[float, float, float]
    confusion: tuple[tuple[int, int, int], ...]
    n: int


def score(labels: NDArray[Any], probabilities: NDArray[Any]) -> Scores:
    """Score `probabilities`, (n, 3), against `labels`, (n,).

    Raises:
        ValueError: If a class is absent from `labels` (its recall is undefined) or a probability is not finite.
    """
    if not np.isfinite(probabilities).all():
        raise ValueError("a predicted probability is not finite")
    k = len(CLASSES)
    confusion = np.bincount(labels.astype(np.int64) * k + probabilities.argmax(axis=1), minlength=k * k).reshape(k, k)
    true, hits = confusion.sum(axis=1), confusion.diagonal()
    if (true == 0).any():
        raise ValueError(f"every class needs an image to be scored; counts are {true.tolist()}")
    recall = hits / true
    picked = probabilities[np.arange(len(labels)), labels.astype(np.int64)].astype(np.float64)
    return Scores(
        accuracy=float(recall.mean()),
        macro_f1=macro_f1(confusion),
        log_loss=float(-np.log(np.maximum(picked, 1e-12)).mean()),
        recall=(float(recall[0]), float(recall[1]), float(recall[2])),
        confusion=tuple((int(row[0]), int(row[1]), int(row[2])) for row in confusion),
        n=len(labels),
    )


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Mean of the F1 scores of the classes; `confusion` has counts, rows true class, columns predicted class."""
    return float((2 * confusion.diagonal() / (confusion.sum(axis=1) + confusion.sum(axis=0))).mean())
