"""Probabilities of three classes from the three decision values of pairwise machines.

Each pair gets a logistic curve (Platt, "Probabilistic Outputs for Support Vector Machines", 1999), fitted on images the
machine was not trained on; the pairwise probabilities are coupled as in Price et al., "Pairwise Neural Network
Classifiers with Probabilistic Outputs" (NIPS 1994).
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from trainables.base import class_weights
from trainables.data.faceset import Labels

PAIRS = ((0, 1), (0, 2), (1, 2))
# Penalty of a curve's offset, in images: with far fewer held out, the machine's own threshold stands. A machine's
# threshold is better than one moved by chance, and one moved by many images is better than the machine's.
OFFSET_PENALTY = 30.0


def fit_platt(decisions: NDArray[np.float32], labels: Labels) -> NDArray[np.float32]:
    """Fit the curve of each pair, every class weighing the same.

    Args:
        decisions: float32, (n, 3), columns in the order of `PAIRS`, positive for the first class of the pair.
        labels: int8, (n,), the true classes, each at least once.

    Returns:
        float32, (3, 2): for each pair the slope, never negative, and the offset; the probability of the pair's first
        class is 1 / (1 + exp(-(slope * decision + offset))).
    """
    weights = class_weights(labels)[labels]
    spread = max(float(np.sqrt(np.square(decisions, dtype=np.float64).mean())), 1e-12)
    # A ridge of 1 on the coefficient of a column of `unit` is a ridge of OFFSET_PENALTY on the offset.
    unit = OFFSET_PENALTY**-0.5
    curves = []
    for column, (first, second) in enumerate(PAIRS):
        rows = (labels == first) | (labels == second)
        inputs = np.column_stack([decisions[rows, column] / spread, np.full(rows.sum(), unit)])
        fitted = LogisticRegression(C=1.0, fit_intercept=False).fit(inputs, labels[rows] == first, weights[rows])
        slope, offset = fitted.coef_[0]
        curves.append((max(slope, 0.0) / spread, offset * unit))
    return np.array(curves, dtype=np.float32)


def couple(decisions: NDArray[np.float32], curves: NDArray[np.float32]) -> NDArray[np.float32]:
    """Class probabilities, float32, (n, 3), of decision values, (n, 3), under the curves of `fit_platt`."""
    logits = np.clip(decisions.astype(np.float64) * curves[:, 0] + curves[:, 1], -30.0, 30.0)
    # Of a pair with probability r, 1 / r is 1 + exp(-logit); a class has 1 / (1 / r + 1 / r' - 1), up to a factor.
    against, along = np.exp(-logits).T, np.exp(logits).T
    first = 1 + against[0] + against[1]
    second = 1 + along[0] + against[2]
    third = 1 + along[1] + along[2]
    scores = 1 / np.stack([first, second, third], axis=1)
    probabilities: NDArray[np.float32] = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities
