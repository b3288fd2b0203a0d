"""Ensembles: weighted means of the probabilities of several trials, chosen greedily on validation.

Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004: start with nothing, add again and again the
model (one that is in already, too) with which the mean is best. Only the best few models are offered, as in Caruana,
Munson and Niculescu-Mizil, "Getting the Most Out of Ensemble Selection", ICDM 2006.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.folds import FOLDS, stratified_folds

ROUNDS = 30
OFFERED = 30


@dataclass(frozen=True)
class Costs:
    """What models cost, and what an ensemble may cost.

    Attributes:
        each: Of each model, (models,); infinite for one that is not to be had.
        limit: The most that the models of an ensemble, each counted once, may cost together.
    """

    each: NDArray[np.float64]
    limit: float


def best_alone(labels: NDArray[Any], probabilities: NDArray[np.float32], offered: int = OFFERED) -> NDArray[np.intp]:
    """The places of the `offered` models of lowest log-loss with every class weighing the same, best first."""
    losses = -np.log(_true(labels, probabilities)) @ _balanced(labels)
    return np.argsort(losses, kind="stable")[:offered]


def greedy_weights(
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    rounds: int = ROUNDS,
    offered: int = OFFERED,
    costs: Costs | None = None,
) -> NDArray[np.float64]:
    """Weights of the models, (models,), that sum to one and most of which are 0.

    What is best is judged by log-loss with every class weighing the same: it goes with balanced accuracy, and unlike
    accuracy it tells nearly equal ensembles apart, so that chance picks less.

    Args:
        labels: The true classes, (n,), of which each needs a face.
        probabilities: (models, n, 3).
        rounds: How many models are added; the best ensemble on the way is kept.
        offered: How many models, the best on their own, may be added.
        costs: What they cost, and what the ensemble may cost; None for no limit.

    Raises:
        ValueError: If no model offered is within the limit.
    """
    face_weights = _balanced(labels)
    costs = costs or Costs(np.zeros(len(probabilities)), 0.0)
    order = best_alone(labels, probabilities, len(probabilities))
    library = order[costs.each[order] <= costs.limit][:offered]
    if not len(library):
        raise ValueError(f"no model costs {costs.limit:g} or less")
    each = costs.each[library]
    # the log-loss of a mean of models depends on their probabilities of the true class alone
    true, total = _true(labels, probabilities)[library], np.zeros(len(labels))
    counts, best_counts, best = np.zeros(len(library)), np.zeros(len(library)), np.inf
    for size in range(1, rounds + 1):
        affordable = (counts > 0) | (each[counts > 0].sum() + each <= costs.limit)
        losses = np.where(affordable, -np.log((total + true) / size) @ face_weights, np.inf)
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


def cross_validated(
    labels: NDArray[Any], probabilities: NDArray[np.float32], costs: Costs | None = None
) -> NDArray[np.float64]:
    """What greedy ensembles say of faces that had no part in choosing their weights, (n, 3).

    The faces are cut into folds; those of each fold are predicted with the weights that the other folds choose.

    Args:
        labels: The true classes, (n,).
        probabilities: (models, n, 3).
        costs: As of `greedy_weights`.

    Raises:
        ValueError: If a class has fewer faces than there are folds, or no model offered is within the limit.
    """
    predicted = np.empty(probabilities.shape[1:])
    for fold in stratified_folds(labels, FOLDS):
        weights = greedy_weights(labels[~fold], probabilities[:, ~fold], costs=costs)
        predicted[fold] = blend(weights, probabilities[:, fold])
    return predicted


def _true(labels: NDArray[Any], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """The probability that each model gives the true class of each face, (models, n), never 0."""
    picked = probabilities[:, np.arange(len(labels)), labels.astype(np.int64)].astype(np.float64)
    true: NDArray[np.float64] = np.maximum(picked, 1e-12)
    return true


def _balanced(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Weights of the faces, (n,), that sum to one and under which every class weighs the same."""
    classes, place = np.unique(labels, return_inverse=True)
    weights: NDArray[np.float64] = 1.0 / (np.bincount(place)[place] * len(classes))
    return weights
