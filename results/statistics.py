"""What can be said of models that were measured on finitely many faces: intervals, paired tests, and optimism.

Intervals are 95 % percentile bootstrap intervals (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 13), resampled within each class, since the mean of the three recalls is what they are about. Seeds are fixed:
the same predictions give the same figures.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr  # type: ignore[import-untyped]  # scipy ships no types

RESAMPLES = 2000
SEED = 0

Interval: TypeAlias = tuple[float, float]
Correct: TypeAlias = NDArray[np.bool_]


def accuracy_interval(confusions: ArrayLike, same_faces: bool = False) -> Interval:
    """Bootstrap interval of balanced accuracy, or of its mean over several fits of one config.

    Drawing n faces of a class with replacement and counting the hits is one binomial draw with the class's recall, so
    no face is drawn one by one. Given several fits, each resample first draws as many of them with replacement (the
    two-stage bootstrap of Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8).

    Args:
        confusions: Counts, (3, 3) or one such matrix a fit, (s, 3, 3), rows true class; every class needs a face.
        same_faces: Whether all fits were measured on the same faces. More fits then are no more faces: each resample
            draws the faces once, as for a model with the mean of the fits' recalls.

    Returns:
        The 2.5 and 97.5 percentiles of `RESAMPLES` resamples.
    """
    counts = np.asarray(confusions).reshape(-1, 3, 3)
    faces = counts.sum(axis=2)
    recall = counts.diagonal(axis1=1, axis2=2) / faces
    generator = np.random.default_rng(SEED)
    fits = generator.integers(len(counts), size=(RESAMPLES, len(counts)))
    if same_faces:
        return _percentiles((generator.binomial(faces[0], recall[fits].mean(axis=1)) / faces[0]).mean(axis=1))
    hits = generator.binomial(faces[fits], recall[fits])
    return _percentiles((hits / faces[fits]).mean(axis=(1, 2)))


def gain_interval(labels: NDArray[Any], ours: Correct, theirs: Correct) -> Interval:
    """Bootstrap interval of the difference of two balanced accuracies that were measured on the same faces.

    Args:
        labels: The true classes, (n,), of which each needs a face.
        ours: Whether one model is right, (n,).
        theirs: Whether the other is; the difference is ours minus theirs.
    """
    generator = np.random.default_rng(SEED)
    difference = np.zeros(RESAMPLES)
    classes = np.unique(labels)
    for label in classes:
        of_class = labels == label
        won, lost = (ours & ~theirs & of_class).sum(), (theirs & ~ours & of_class).sum()
        n = of_class.sum()
        draws = generator.multinomial(n, [won / n, lost / n, (n - won - lost) / n], RESAMPLES)
        difference += (draws[:, 0] - draws[:, 1]) / n / len(classes)
    return _percentiles(difference)


def mcnemar(ours: Correct, theirs: Correct) -> float:
    """Two-sided p of McNemar's exact test that two models are right equally often.

    Only faces on which exactly one of them is right count; under the hypothesis each side gets half of these by tosses
    of a coin (McNemar, Psychometrika 12, 1947; Dietterich, Neural Computation 10, 1998).

    Args:
        ours: Whether one model is right, (n,).
        theirs: Whether the other is, on the same faces.
    """
    won, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return min(1.0, 2 * float(bdtr(min(won, lost), won + lost, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted for their number, in the order given (Holm, Scandinavian Journal of Statistics 6, 1979).

    Comparing each with alpha rejects a true hypothesis with a probability of at most alpha, over all of them.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, (len(p_values) - rank) * p_values[place])
        adjusted[place] = min(1.0, running)
    return adjusted


def optimism(labels: NDArray[Any], correct: Correct, resamples: int = 500) -> float:
    """By how much the best of several balanced accuracies is expected to be too high for having been picked.

    Each resample of the faces picks its own best model, which is then measured on the faces that the resample left out;
    those had no part in the choice (Tsamardinos, Greasidou and Borboudakis, "Bootstrapping the out-of-sample
    predictions for efficient and accurate cross-validation", Machine Learning 107, 2018). A resample that leaves out no
    face of some class is passed over.

    Args:
        labels: The true classes, (n,).
        correct: Whether each model is right, (models, n).
        resamples: How many resamples.

    Returns:
        The best balanced accuracy minus the mean of what was measured on left-out faces, at least 0.

    Raises:
        ValueError: If no resample leaves out a face of every class; each class needs two faces.
    """
    by_class = [correct[:, labels == label].astype(np.float32) for label in np.unique(labels)]
    accuracy = np.mean([rows.mean(axis=1, dtype=np.float64) for rows in by_class], axis=0)
    # whether the faces left out were easy ones says nothing of the choice: what they gave all models is taken off
    left_out = [
        float(unseen[seen.argmax()] - (unseen - accuracy).mean())
        for seen, unseen in _resampled(by_class, resamples)
        if np.isfinite(unseen).all()
    ]
    if not left_out:
        raise ValueError("every class needs two faces, so that a resample can leave one out")
    return max(0.0, float(accuracy.max() - np.mean(left_out)))


def _resampled(
    by_class: list[NDArray[np.float32]], resamples: int, block: int = 50
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Balanced accuracies (models,) on the faces that a resample drew, and on those it left out (nan if none)."""
    generator = np.random.default_rng(SEED)
    for first in range(0, resamples, block):
        count = min(block, resamples - first)
        seen = np.zeros((count, len(by_class[0])))
        unseen = np.zeros_like(seen)
        for rows in by_class:
            n = rows.shape[1]
            drawn = generator.multinomial(n, np.full(n, 1 / n), count).astype(np.float32)
            absent = (drawn == 0).astype(np.float32)
            seen += drawn @ rows.T / n / len(by_class)
            with np.errstate(invalid="ignore"):
                unseen += absent @ rows.T / absent.sum(axis=1, keepdims=True) / len(by_class)
        yield from zip(seen, unseen, strict=True)


def _percentiles(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
