"""Which images a trial sees, and in which groups: for any labels and counts."""

import numpy as np
import pytest
from drawn_faces import drawn_faces
from hypothesis import given
from hypothesis import strategies as st

from spaces.fidelity import Fidelity
from trainables.base import TrainingError
from trainables.subsets import BLOCK, FEWEST, blocks, held_out, nested_order, require, subset

LABELS = st.lists(st.sampled_from([0, 0, 0, 1, 1, 2]), max_size=300).map(lambda more: np.array(more, np.int8))
PLENTY = LABELS.map(lambda more: np.concatenate([np.repeat(np.arange(3, dtype=np.int8), FEWEST), more]))


@given(labels=LABELS, seed=st.integers(0, 10))
def test_every_beginning_of_the_order_is_stratified_to_within_one_image(labels: np.ndarray, seed: int) -> None:
    order = nested_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    begun = np.cumsum(labels[order, None] == np.arange(3), axis=0)
    shares = np.bincount(labels, minlength=3) / max(len(labels), 1)
    assert (np.abs(begun - np.arange(1, len(labels) + 1)[:, None] * shares) < 1).all()


@given(labels=PLENTY, seed=st.integers(0, 10))
def test_subsets_are_nested_and_none_lacks_a_class(labels: np.ndarray, seed: int) -> None:
    scale = Fidelity()
    smaller = subset(labels, seed, scale, 1)
    for rung in scale.rungs[1:]:
        larger = subset(labels, seed, scale, rung)
        assert len(larger) >= scale.units(len(labels), rung)
        assert np.array_equal(larger[: len(smaller)], smaller)
        smaller = larger
    assert len(larger) == len(labels)
    counts = np.bincount(labels[subset(labels, seed, scale, 1)], minlength=3)
    assert counts.min() >= FEWEST


def test_the_seed_draws_the_subset() -> None:
    one, other = (subset(drawn_faces(240, seed=1).labels, seed, Fidelity(), 3) for seed in (0, 1))
    assert len(one) == len(other)
    assert set(one) != set(other)


@given(labels=PLENTY, share=st.floats(0.05, 0.5))
def test_of_every_class_a_share_is_held_out(labels: np.ndarray, share: float) -> None:
    held = held_out(labels, share)
    for label in range(3):
        among = np.count_nonzero(labels == label)
        assert np.count_nonzero(held & (labels == label)) == max(1, round(share * among))
        assert not held[np.flatnonzero(labels == label)[0]]


def test_a_class_that_is_too_rare_is_named() -> None:
    with pytest.raises(TrainingError, match="at least 5 training images; received negative 3, neutral 9, positive 0"):
        require(np.repeat(np.int8([0, 1]), (3, 9)), 5)


@given(count=st.integers(1, 5 * BLOCK))
def test_blocks_hold_every_image_once_and_are_of_one_size(count: int) -> None:
    found = blocks(count)
    assert sorted(np.concatenate(found)) == list(range(count))
    sizes = [len(rows) for rows in found]
    assert max(sizes) <= BLOCK
    assert max(sizes) - min(sizes) <= 1
    assert len(found) == -(-count // BLOCK)
    assert all(np.array_equal(one, other) for one, other in zip(found, blocks(count), strict=True))
