"""Which training images a trial sees when it sees only some of them."""

import numpy as np
from numpy.typing import NDArray

from spaces.fidelity import Fidelity
from trainables.base import TrainingError
from trainables.data.faceset import CLASSES, Labels

# The most images of a block, and what fixes which are in it.
BLOCK, _BLOCK_SEED = 2048, 0
# Of each class: four to train a machine and one to calibrate it.
FEWEST = 5


def nested_order(labels: Labels, seed: int) -> NDArray[np.intp]:
    """A random order of the images of which every beginning is stratified by class.

    In the first m images each class has its share of m to within one image. (The beginnings hold round(t * count) of
    each class as t goes from 0 to 1; for three classes these roundings move a class by less than one image.)

    Args:
        labels: int8, (n,).
        seed: Fixes the order within each class.

    Returns:
        A permutation of 0..n-1, (n,).
    """
    generator = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(labels == label)
        place[generator.permutation(rows)] = (np.arange(len(rows)) + 0.5) / max(len(rows), 1)
    return np.argsort(place, kind="stable")


def blocks(count: int) -> list[NDArray[np.intp]]:
    """Random groups of `count` images, of `BLOCK` images at most and of one size to within one, for all trainings.

    Networks with frozen stages see the images block by block, so that a few steps need shared work for few blocks only.

    Returns:
        The rows of each block, ascending.
    """
    order = np.random.default_rng(_BLOCK_SEED).permutation(count)
    return [np.sort(rows) for rows in np.array_split(order, max(1, -(-count // BLOCK)))]


def subset(labels: Labels, seed: int, scale: Fidelity, fidelity: int) -> NDArray[np.intp]:
    """The rows a trial trains on at `fidelity`: the subset at a lower fidelity is its beginning.

    It is that share of the images, or what little more holds `FEWEST` images of every class.

    Raises:
        TrainingError: If a class has fewer than `FEWEST` images in all.
    """
    require(labels, FEWEST)
    order = nested_order(labels, seed)
    ordered = labels[order]
    enough = max(int(np.flatnonzero(ordered == label)[FEWEST - 1]) + 1 for label in range(len(CLASSES)))
    return order[: max(scale.units(len(order), fidelity), enough)]


def held_out(labels: Labels, share: float) -> NDArray[np.bool_]:
    """Which of the images to keep from training: the last of each class.

    Args:
        labels: int8, (n,), in random order, at least two of every class.
        share: Share of each class that is held out; at least one image of each is.

    Returns:
        bool, (n,), true where held out.
    """
    held = np.zeros(len(labels), dtype=np.bool_)
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(labels == label)
        held[rows[-max(1, round(share * len(rows))) :]] = True
    return held


def require(labels: Labels, fewest: int) -> None:
    """Refuse training images among which a class is too rare.

    Raises:
        TrainingError: If a class has fewer than `fewest` images.
    """
    counts = np.bincount(labels, minlength=len(CLASSES))
    if counts.min() < fewest:
        found = ", ".join(f"{name} {count}" for name, count in zip(CLASSES, counts, strict=True))
        raise TrainingError(f"every class needs at least {fewest} training images; received {found}")
