"""Temperatures, calibration errors and recalls, against brute force and the truth of made-up models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from results.calibration import at_temperature, calibrate, calibration_error, fit_temperature, recall_by_emotion
from results.folds import stratified_folds
from trainables.data.faceset import CLASSES, EMOTIONS, Faces

SEEDS = st.integers(0, 2**32 - 1)


def made_up(seed, n=600, temperature=1.0):
    """Labels drawn from probabilities, and these probabilities at another temperature."""
    generator = np.random.default_rng(seed)
    true = generator.dirichlet((0.7, 0.7, 0.7), n)
    labels = (generator.random(n)[:, None] > true.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    return labels, at_temperature(true, 1 / temperature).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_no_other_temperature_makes_the_labels_likelier(seed):
    labels, probabilities = made_up(seed, 60)
    fitted = fit_temperature(labels, probabilities)

    def loss(temperature):
        return log_loss(labels, at_temperature(probabilities, temperature), labels=[0, 1, 2])

    tried = np.exp(np.linspace(np.log(0.05), np.log(20), 60))
    assert loss(fitted) <= min(loss(temperature) for temperature in tried) + 1e-6


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_was_done_to_probabilities(temperature):
    labels, probabilities = made_up(0, 20_000, temperature)
    assert fit_temperature(labels, probabilities) == pytest.approx(temperature, rel=0.05)
    found = calibrate(labels, probabilities)
    assert found.ece_scaled < 0.02
    assert found.ece > 0.05 or temperature == 1
    assert found.log_loss_scaled <= found.log_loss + 1e-3


@given(SEEDS, st.floats(0.05, 20))
def test_a_temperature_changes_no_label_and_one_changes_nothing(seed, temperature):
    _, probabilities = made_up(seed, 20)
    scaled = at_temperature(probabilities, temperature)
    assert scaled.sum(axis=1) == pytest.approx(np.ones(20))
    chosen = scaled[np.arange(20), probabilities.argmax(axis=1)]
    assert chosen == pytest.approx(scaled.max(axis=1))
    assert at_temperature(probabilities, 1.0) == pytest.approx(probabilities, abs=1e-6)


def test_certain_mistakes_are_met_with_a_finite_temperature():
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 1]]
    fitted = fit_temperature(labels, probabilities)
    assert 1 < fitted < 20
    assert np.isfinite(at_temperature(probabilities, fitted)).all()


@given(SEEDS)
def test_the_calibration_error_is_that_of_a_plain_loop(seed):
    labels, probabilities = made_up(seed, 80)
    error = 0.0
    for number in range(15):
        sure = probabilities.max(axis=1).astype(float)
        members = (sure > number / 15) & (sure <= (number + 1) / 15)
        if members.any():
            right = (probabilities.argmax(axis=1) == labels)[members].mean()
            error += members.mean() * abs(right - sure[members].mean())
    assert calibration_error(labels, probabilities) == pytest.approx(error)


def test_recall_by_emotion_is_the_share_told_to_be_of_its_class():
    emotions = np.array([EMOTIONS.index(name) for name in ("angry", "angry", "disgust", "happy", "neutral")], np.int8)
    labels = np.array([CLASSES.index(name) for name in ("negative", "negative", "negative", "positive", "neutral")])
    faces = Faces(np.zeros((5, 48, 48), np.uint8), labels.astype(np.int8), emotions, ("",) * 5)
    found = recall_by_emotion(faces, np.eye(3)[[0, 1, 2, 2, 1]])
    assert found == {
        "angry": {"class": "negative", "recall": 0.5, "n": 2},
        "disgust": {"class": "negative", "recall": 0.0, "n": 1},
        "happy": {"class": "positive", "recall": 1.0, "n": 1},
        "neutral": {"class": "neutral", "recall": 1.0, "n": 1},
    }


@given(st.lists(st.integers(5, 40), min_size=3, max_size=3), SEEDS, st.integers(2, 5))
def test_each_face_is_in_one_fold_and_each_class_is_spread_evenly(counts, seed, folds):
    labels = np.random.default_rng(seed).permutation(np.repeat([0, 1, 2], counts))
    masks = np.array(stratified_folds(labels, folds))
    assert (masks.sum(axis=0) == 1).all()
    for label in range(3):
        assert np.ptp(masks[:, labels == label].sum(axis=1)) <= 1


def test_too_few_faces_for_the_folds_are_refused():
    with pytest.raises(ValueError, match="class 2 has 1 faces, fewer than the 2 folds"):
        stratified_folds(np.array([0, 0, 1, 1, 2]), 2)
