"""Intervals, paired tests and optimism, against brute force, scipy, or the truth of made-up models."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control

from results.statistics import accuracy_interval, gain_interval, holm, mcnemar, optimism

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80).map(lambda rows: np.array(rows).T)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=5)


def balanced(labels, correct):
    return np.mean([correct[labels == label].mean() for label in np.unique(labels)])


def made_up(generator, n, shares, shared=0.0):
    """Labels of n faces, and models that are right on given shares of them, to a degree on the same ones."""
    labels = np.arange(n) % 3
    hardness = generator.random(n)
    own = generator.random((len(shares), n))
    same = generator.random((len(shares), n)) < shared
    return labels, np.where(same, hardness, own) < np.array(shares)[:, None]


def test_the_interval_is_that_of_resampling_faces_within_each_class():
    confusion = np.array([[80, 20, 0], [30, 50, 20], [5, 5, 190]])
    generator = np.random.default_rng(3)
    accuracies = []
    for _ in range(4000):
        recalls = []
        for label, counts in enumerate(confusion):
            predicted = np.repeat(np.arange(3), counts)
            recalls.append((generator.choice(predicted, len(predicted)) == label).mean())
        accuracies.append(np.mean(recalls))
    assert accuracy_interval(confusion) == pytest.approx(np.percentile(accuracies, [2.5, 97.5]), abs=0.004)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 500)] * 3).filter(any), min_size=3, max_size=3))
def test_the_interval_holds_the_accuracy_and_narrows_with_more_faces(confusion):
    counts = np.array(confusion)
    accuracy = (counts.diagonal() / counts.sum(axis=1)).mean()
    low, high = accuracy_interval(counts)
    assert 0 <= low <= accuracy + 1e-9
    assert accuracy - 1e-9 <= high <= 1
    low_of_many, high_of_many = accuracy_interval(100 * counts)
    assert high_of_many - low_of_many <= high - low


def test_the_interval_of_several_fits_narrows_if_they_agree_and_widens_if_they_do_not():
    def fits(*hits):
        return [[[hit, 100 - hit, 0], [0, hit, 100 - hit], [100 - hit, 0, hit]] for hit in hits]

    low_1, high_1 = accuracy_interval(fits(70))
    low_4, high_4 = accuracy_interval(fits(70, 70, 70, 70))
    assert high_4 - low_4 == pytest.approx((high_1 - low_1) / 2, rel=0.1)
    same = accuracy_interval(fits(70, 70, 70, 70), same_faces=True)
    assert same == pytest.approx((low_1, high_1), abs=0.01), "more fits are no more faces"
    low, high = accuracy_interval(fits(50, 90, 50, 90))
    assert (low, high) == (pytest.approx(0.5, abs=0.03), pytest.approx(0.9, abs=0.03))


def test_the_interval_of_a_gain_is_that_of_resampling_pairs():
    generator = np.random.default_rng(0)
    labels, (ours, theirs) = made_up(generator, 300, [0.75, 0.7], shared=0.7)
    gains = []
    for _ in range(4000):
        rows = np.concatenate([generator.choice(np.flatnonzero(labels == label), 100) for label in range(3)])
        gains.append(balanced(labels[rows], ours[rows]) - balanced(labels[rows], theirs[rows]))
    assert gain_interval(labels, ours, theirs) == pytest.approx(np.percentile(gains, [2.5, 97.5]), abs=0.006)
    low, high = gain_interval(labels, theirs, ours)
    assert (-high, -low) == pytest.approx(gain_interval(labels, ours, theirs), abs=0.006)
    assert gain_interval(labels, ours, ours) == (0, 0)


@given(PAIRS)
def test_mcnemar_is_a_binomial_test_of_the_faces_on_which_one_is_right(pair):
    ours, theirs = pair
    won, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(ours, theirs) == pytest.approx(expected)
    assert mcnemar(theirs, ours) == mcnemar(ours, theirs)


@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_its_step_down_procedure_rejects(p_values, alpha):
    rejected = set()
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if (len(p_values) - step) * p_values[place] > alpha:
            break
        rejected.add(place)
    assert {place for place, p_value in enumerate(holm(p_values)) if p_value <= alpha} == rejected


@given(P_VALUES)
def test_holm_is_between_no_correction_and_bonferroni_and_forgets_no_order(p_values):
    adjusted = holm(p_values)
    for (one, of_one), (other, of_other) in itertools.product(zip(p_values, adjusted, strict=True), repeat=2):
        assert one <= of_one <= min(1.0, len(p_values) * one) or of_one == 1
        assert of_one <= of_other or one > other
    assert all(np.array(adjusted) >= false_discovery_control(p_values) - 1e-12)


def test_a_single_model_was_not_picked():
    labels, correct = made_up(np.random.default_rng(0), 300, [0.7])
    assert optimism(labels, correct) == pytest.approx(0, abs=1e-6)
    assert optimism(labels, np.repeat(correct, 5, axis=0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("models", "shared"), [(3, 0.0), (30, 0.0), (30, 0.8)])
def test_the_corrected_accuracy_of_equally_good_models_is_theirs(models, shared):
    best, corrected = [], []
    for seed in range(60):
        labels, correct = made_up(np.random.default_rng(seed), 300, [0.7] * models, shared)
        best.append(max(balanced(labels, row) for row in correct))
        corrected.append(best[-1] - optimism(labels, correct, resamples=60))
    truth, spread = 0.7, np.std(corrected) / np.sqrt(60)
    assert np.mean(best) > truth + 0.005
    assert np.mean(corrected) == pytest.approx(truth, abs=3 * spread + 0.002)


def test_a_model_that_is_clearly_the_best_was_hardly_picked_by_chance():
    labels, correct = made_up(np.random.default_rng(1), 3000, [0.9, 0.6, 0.6, 0.6])
    assert optimism(labels, correct) < 0.002


def test_optimism_needs_faces_to_leave_out():
    with pytest.raises(ValueError, match="two faces"):
        optimism(np.array([0, 1, 2]), np.ones((2, 3), bool))
