"""Greedy ensembles, against brute force; and their figures, which choosing the weights must not flatter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.utils.class_weight import compute_sample_weight

from results.ensemble import Costs, blend, cross_validated, greedy_weights
from results.folds import FOLDS, stratified_folds

SEEDS = st.integers(0, 2**32 - 1)


def made_up(seed, models, n=90, skill=1.0):
    """Labels of n faces, and probabilities of models whose mistakes are their own."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    logits = generator.normal(size=(models, n, 3)) + skill * np.eye(3)[labels]
    powers = np.exp(logits)
    return labels, (powers / powers.sum(axis=2, keepdims=True)).astype(np.float32)


def loss(labels, probabilities):
    weights = compute_sample_weight("balanced", labels)
    normalized = probabilities / probabilities.sum(axis=1, keepdims=True)
    return log_loss(labels, normalized, sample_weight=weights, labels=[0, 1, 2])


def plain_greedy(labels, probabilities, rounds):
    """The same by the book: every ensemble on the way is built and measured."""
    chosen, tried = [], []
    for _ in range(rounds):
        choices = [[*chosen, model] for model in range(len(probabilities))]
        losses = [loss(labels, probabilities[choice].astype(float).mean(axis=0)) for choice in choices]
        chosen = choices[int(np.argmin(losses))]
        tried.append((min(losses), chosen))
    best = min(tried, key=lambda item: item[0])[1]
    return np.bincount(best, minlength=len(probabilities)) / len(best)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 6))
def test_the_weights_are_those_of_plain_greedy_selection(seed, models, rounds):
    labels, probabilities = made_up(seed, models, n=31)
    assert greedy_weights(labels, probabilities, rounds) == pytest.approx(plain_greedy(labels, probabilities, rounds))


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 8))
def test_an_ensemble_is_no_worse_than_its_best_member_where_it_was_chosen(seed, models):
    labels, probabilities = made_up(seed, models)
    weights = greedy_weights(labels, probabilities)
    assert weights.sum() == pytest.approx(1)
    blended = blend(weights, probabilities)
    assert blended.sum(axis=1) == pytest.approx(np.ones(len(labels)), abs=1e-5)
    assert loss(labels, blended) <= min(loss(labels, one.astype(float)) for one in probabilities) + 1e-6


def test_only_the_best_models_are_offered():
    labels, probabilities = made_up(0, 6)
    order = np.argsort([loss(labels, one.astype(float)) for one in probabilities])
    weights = greedy_weights(labels, probabilities, offered=2)
    assert set(np.flatnonzero(weights)) <= set(order[:2])


def test_models_that_err_each_in_its_own_way_are_better_together():
    labels, probabilities = made_up(1, 8, n=900)
    single = max(balanced_accuracy_score(labels, one.argmax(axis=1)) for one in probabilities)
    together = balanced_accuracy_score(labels, cross_validated(labels, probabilities).argmax(axis=1))
    assert together > single + 0.05


def test_cross_validation_takes_away_what_choosing_among_guessers_seems_to_give():
    chosen_on, honest = [], []
    for seed in range(30):
        labels, probabilities = made_up(seed, 25, n=90, skill=0.0)
        in_sample = blend(greedy_weights(labels, probabilities), probabilities)
        chosen_on.append(balanced_accuracy_score(labels, in_sample.argmax(axis=1)))
        honest.append(balanced_accuracy_score(labels, cross_validated(labels, probabilities).argmax(axis=1)))
    assert np.mean(chosen_on) > 1 / 3 + 0.05
    assert np.mean(honest) == pytest.approx(1 / 3, abs=0.03)


def test_a_face_has_no_part_in_the_weights_that_predict_its_fold():
    labels, probabilities = made_up(2, 4)
    fold = next(fold for fold in stratified_folds(labels, FOLDS) if fold[0])
    before = cross_validated(labels, probabilities)
    probabilities[:, 0] = probabilities[::-1, 0][:, [1, 2, 0]]
    after = cross_validated(labels, probabilities)
    rest = np.flatnonzero(fold)[1:]
    assert np.array_equal(before[rest], after[rest])
    assert not np.array_equal(before[~fold], after[~fold])


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(2, 7), st.floats(1, 10))
def test_the_members_together_stay_within_the_limit(seed, models, limit):
    labels, probabilities = made_up(seed, models)
    each = np.random.default_rng(seed).uniform(0.2, 4, models)
    each[0] = min(each[0], 1)
    weights = greedy_weights(labels, probabilities, costs=Costs(each, limit))
    assert weights.sum() == pytest.approx(1)
    assert each[weights > 0].sum() <= limit + 1e-9
    cross_validated(labels, probabilities, Costs(each, limit))


def test_a_limit_that_all_stay_within_changes_nothing_and_one_that_none_does_is_told():
    labels, probabilities = made_up(3, 5)
    free = greedy_weights(labels, probabilities)
    assert np.array_equal(greedy_weights(labels, probabilities, costs=Costs(np.ones(5), 5.0)), free)
    with pytest.raises(ValueError, match="no model costs 0.5 or less"):
        greedy_weights(labels, probabilities, costs=Costs(np.ones(5), 0.5))


def test_a_model_that_is_not_to_be_had_is_never_chosen():
    labels, probabilities = made_up(4, 5)
    best = int(greedy_weights(labels, probabilities).argmax())
    each = np.where(np.arange(5) == best, np.inf, 1.0)
    assert greedy_weights(labels, probabilities, costs=Costs(each, 10.0))[best] == 0
