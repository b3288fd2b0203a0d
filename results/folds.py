"""Folds of the validation faces, for what is fitted on validation and must not be judged on what it was fitted on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
_SEED = 0


def stratified_folds(labels: NDArray[Any], folds: int) -> list[NDArray[np.bool_]]:
    """Which faces each fold holds: `folds` masks, (n,), of which every face is in exactly one.

    The draw is fixed, and each class is spread over the folds as evenly as its number allows.

    Raises:
        ValueError: If a class has fewer faces than there are folds.
    """
    generator = np.random.default_rng(_SEED)
    fold_of = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < folds:
            raise ValueError(f"class {label} has {len(members)} faces, fewer than the {folds} folds")
        fold_of[members] = np.arange(len(members)) % folds
    return [fold_of == fold for fold in range(folds)]
