"""Ensembles: weighted means of the probabilities of several trials, chosen greedily on validation.

Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004: start with nothing, add again and again the
model (one that is in already, too) with which the mean is best. Only the best few models are offered, as in Caruana,
Munson and Niculescu-Mizil, "Getting the Most Out of Ensemble Selection", ICDM 2006.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.folds import FOLDS, stratified_folds

ROUNDS = 30
OFFERED = 30


def greedy_weights(
    labels: NDArray[Any], probabilities: NDArray[np.float32], rounds: int = ROUNDS, offered: int = OFFERED
) -> NDArray[np.float64]:
    """Weights of the models, (models,), that sum to one and most of which are 0.

    What is best is judged by log-loss with every class weighing the same: it goes with balanced accuracy, and unlike
    accuracy it tells nearly equal ensembles apart, so that chance picks less.

    Args:
        labels: The true classes, (n,), of which each needs a face.
        probabilities: (models, n, 3).
        rounds: How many models are added; the best ensemble on the way is kept.
        offered: How many models, the best on their own, may be added.
    """
    true = np.maximum(probabilities[:, np.arange(len(labels)), labels.astype(np.int64)].astype(np.float64), 1e-12)
    face_weights = _balanced(labels)
    library = np.argsort(-np.log(true) @ face_weights, kind="stable")[:offered]
    # the log-loss of a mean of models depends on their probabilities of the true class alone
    true, total = true[library], np.zeros(len(labels))
    counts, best_counts, best = np.zeros(len(library)), np.zeros(len(library)), np.inf
    for size in range(1, rounds + 1):
        losses = -np.log((total + true) / size) @ face_weights
        choice = int(losses.argmin())
        total += true[choice]
        counts[choice] += 1
        if losses[choice] < best:
            best, best_counts = float(losses[choice]), counts.copy()
    weights = np.zeros(len(probabilities))
    weights[library] = best_counts / best_counts.sum()
    return weights


def blend(weights: NDArray[np.float64], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """The weighted mean, (n, 3), of `probabilities`, (models, n, 3)."""
    used = np.flatnonzero(weights)
    mean: NDArray[np.float64] = np.tensordot(weights[used], probabilities[used].astype(np.float64), axes=1)
    return mean


def cross_validated(labels: NDArray[Any], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """What greedy ensembles say of faces that had no part in choosing their weights, (n, 3).

    The faces are cut into folds; those of each fold are predicted with the weights that the other folds choose.

    Args:
        labels: The true classes, (n,).
        probabilities: (models, n, 3).

    Raises:
        ValueError: If a class has fewer faces than there are folds.
    """
    predicted = np.empty(probabilities.shape[1:])
    for fold in stratified_folds(labels, FOLDS):
        weights = greedy_weights(labels[~fold], probabilities[:, ~fold])
        predicted[fold] = blend(weights, probabilities[:, fold])
    return predicted


def _balanced(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Weights of the faces, (n,), that sum to one and under which every class weighs the same."""
    classes, place = np.unique(labels, return_inverse=True)
    weights: NDArray[np.float64] = 1.0 / (np.bincount(place)[place] * len(classes))
    return weights
