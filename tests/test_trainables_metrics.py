import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, log_loss, recall_score

from trainables.metrics import score

LABELS = st.lists(st.integers(0, 2), max_size=60).map(lambda more: np.array([0, 1, 2, *more], np.int8))
SEEDS = st.integers(0, 2**32 - 1)


@given(labels=LABELS, seed=SEEDS, sharpness=st.sampled_from([0.1, 1.0, 30.0]))
def test_scores_are_those_of_scikit_learn(labels: np.ndarray, seed: int, sharpness: float) -> None:
    logits = sharpness * np.random.default_rng(seed).normal(size=(len(labels), 3))
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    scores = score(labels, probabilities)
    assert scores.accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert scores.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
    assert scores.recall == pytest.approx(recall_score(labels, predicted, average=None))
    assert np.array_equal(scores.confusion, confusion_matrix(labels, predicted))
    assert scores.n == len(labels)
    clipped = np.maximum(probabilities, 1e-12)
    assert scores.log_loss == pytest.approx(log_loss(labels, clipped / clipped.sum(axis=1, keepdims=True)), abs=1e-6)


@given(labels=LABELS, seed=SEEDS)
def test_scores_do_not_depend_on_the_order_of_images(labels: np.ndarray, seed: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet((1, 1, 1), len(labels)).astype(np.float32)
    order = generator.permutation(len(labels))
    one, other = score(labels, probabilities), score(labels[order], probabilities[order])
    assert (one.accuracy, one.confusion) == (other.accuracy, other.confusion)
    assert one.log_loss == pytest.approx(other.log_loss)


def test_a_certain_mistake_costs_much_but_not_everything() -> None:
    labels = np.array([0, 1, 2])
    assert score(labels, np.eye(3)).log_loss == 0
    assert 5 < score(labels, np.eye(3)[[1, 1, 2]]).log_loss < 20


def test_a_class_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"every class needs an image.*\[2, 1, 0\]"):
        score(np.array([0, 0, 1]), np.full((3, 3), 1 / 3))


def test_a_probability_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        score(np.array([0, 1, 2]), np.array([[np.nan, 0, 1], [0, 1, 0], [0, 0, 1]]))
