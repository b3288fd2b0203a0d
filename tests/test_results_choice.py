"""The rule by which a candidate wins: the best, unless a much cheaper one cannot be told apart from it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.choice import ALPHA, CHEAPER, choose
from results.statistics import holm, mcnemar

COMPARED = st.integers(1, 5).flatmap(
    lambda k: st.tuples(
        st.lists(st.sampled_from([0.6, 0.65, 0.7]), min_size=k, max_size=k),
        st.lists(st.integers(1, 4), min_size=k, max_size=k),
        st.lists(st.lists(st.booleans(), min_size=30, max_size=30).map(np.array), min_size=k, max_size=k),
    )
)


def right_on(*shares, n=400):
    """Nested: who is right on more faces is right wherever the others are."""
    return [np.arange(n) < share * n for share in shares]


def test_one_candidate_wins_unchallenged():
    choice = choose([0.7], [5.0], right_on(0.7))
    assert (choice.leader, choice.winner, choice.runner_up, choice.p_value) == (0, 0, None, None)


def test_the_best_wins_where_it_can_be_told_apart():
    choice = choose([0.6, 0.8], [1.0, 100.0], right_on(0.6, 0.8))
    assert (choice.leader, choice.winner, choice.runner_up) == (1, 1, 0)
    assert choice.p_value == mcnemar(*right_on(0.6, 0.8)) < ALPHA


def test_the_cheapest_of_those_that_cannot_be_told_apart_wins():
    choice = choose([0.8, 0.799, 0.798, 0.6], [100.0, 50.0, 20.0, 1.0], right_on(0.8, 0.7975, 0.795, 0.6))
    assert (choice.leader, choice.winner, choice.runner_up) == (0, 2, 0)
    assert choice.told_apart == (False, False, False, True)
    assert choice.p_value > ALPHA


def test_a_few_seconds_less_are_no_reason_to_leave_the_best():
    assert choose([0.8, 0.79], [100.0, 51.0], right_on(0.8, 0.79)).winner == 0
    assert choose([0.8, 0.79], [100.0, 50.0], right_on(0.8, 0.79)).winner == 1


def test_more_comparisons_make_it_harder_to_be_told_apart():
    pair = right_on(0.52, 0.5, n=300)
    assert choose([0.52, 0.5], [2, 1], pair).winner == 0
    assert choose([0.52, 0.5, 0.5, 0.5], [2, 1, 3, 3], [*pair, pair[1], pair[1]]).winner == 1


def test_one_that_is_right_on_significantly_more_faces_is_no_cheap_equal():
    choice = choose([0.8, 0.79], [100.0, 1.0], right_on(0.6, 0.8))
    assert (choice.leader, choice.winner, choice.told_apart) == (0, 0, (False, True))


@given(COMPARED)
def test_nobody_left_is_much_cheaper_and_the_p_values_are_corrected(compared):
    accuracies, seconds, correct = compared
    choice = choose(accuracies, seconds, correct)
    assert accuracies[choice.leader] == max(accuracies)
    limit = CHEAPER * seconds[choice.leader]
    left = [place for place in range(len(accuracies)) if not choice.told_apart[place] and seconds[place] <= limit]
    assert choice.winner in left if left else choice.winner == choice.leader
    assert all(seconds[choice.winner] <= seconds[place] for place in left)
    others = [place for place in range(len(accuracies)) if place != choice.leader]
    expected = holm([mcnemar(correct[choice.leader], correct[place]) for place in others])
    assert [choice.p_values[place] for place in others] == pytest.approx(expected)
    assert choice.p_values[choice.leader] is None
    if others:
        assert choice.p_value is not None
        assert choice.runner_up != choice.winner
