"""ASHA that pauses trials and takes them up later."""

import pytest

from search.promotion import MOST_WAITING, Promotion
from search.scheduler import Learned, Report, Verdict
from spaces.family import Family
from spaces.fidelity import Fidelity

PAUSE = Verdict.PAUSE


def test_trials_that_keep_the_constraints_later_do_not_let_others_wait_for_ever():
    rule = Promotion(Fidelity(), margin=Learned())
    count = 3 * MOST_WAITING
    for trial in range(count):
        rule.report(Report(trial, Family.SVM, 1, trial / count - 1, is_within=False))
    assert not rule.passed_over
    for trial in [rule.promote(always, eager=False) for _ in range(4)]:
        rule.report(Report(trial, Family.SVM, 3, -30.0))
    assert rule.passed_over


def always(trial: int) -> bool:
    return True


def test_promotion_takes_up_the_best_third_highest_rung_first():
    rule = Promotion(Fidelity())
    first = [rule.report(Report(trial, Family.SVM, 1, value)) for trial, value in enumerate((0.5, 0.7, 0.6))]
    assert first == [PAUSE] * 3
    assert rule.paused == {0, 1, 2}
    assert rule.promote(always, eager=False) == 1
    assert rule.promote(always, eager=False) is None  # one of three is a third
    assert rule.report(Report(1, Family.SVM, 3, 0.8)) is PAUSE
    for trial, value in ((3, 0.65), (4, 0.1), (5, 0.2)):
        rule.report(Report(trial, Family.SVM, 1, value))
    assert rule.promote(lambda trial: trial != 3, eager=False) is None
    assert rule.promote(always, eager=False) == 3
    for trial, value in ((3, 0.9), (6, 0.7)):
        rule.report(Report(trial, Family.SVM, 3, value))
    assert rule.promote(always, eager=False) == 3  # the best of three at rung 3
    assert rule.report(Report(3, Family.SVM, 9, 0.9)) is PAUSE


def test_promotion_takes_up_whom_the_margin_spares():
    plain, spared = Promotion(Fidelity()), Promotion(Fidelity(), margin=0.15)
    for rule, expected in ((plain, [1]), (spared, [1, 2])):
        for trial, value in enumerate((0.5, 0.7, 0.6)):
            rule.report(Report(trial, Family.SVM, 1, value))
        assert list(iter(lambda rule=rule: rule.promote(always, eager=False), None)) == expected


@pytest.mark.parametrize(("foretells", "taken"), [(True, [15]), (False, [15, 14, 13, 12, 7])])
def test_promotion_learns_its_margin_from_the_promoted(foretells, taken):
    rule = Promotion(Fidelity(), margin=Learned())
    for trial in range(12):
        rule.report(Report(trial, Family.SVM, 1, trial / 100))
    promoted = list(iter(lambda: rule.promote(always, eager=False), None))
    assert promoted == [11, 10, 9, 8]  # a third
    for trial, value in zip(promoted, (0.9, 0.8, 0.7, 0.6) if foretells else (0.6, 0.9, 0.7, 0.8), strict=True):
        rule.report(Report(trial, Family.SVM, 3, value))
        rule.leave(trial)
    for trial, value in ((12, 0.073), (13, 0.075), (14, 0.077), (15, 0.12)):
        rule.report(Report(trial, Family.SVM, 1, value))
    assert [rule.promote(always, eager=False) for _ in taken] == taken
    assert (rule.promote(always, eager=False) is None) is foretells


def test_an_eager_promotion_takes_the_best_of_few():
    rule = Promotion(Fidelity())
    rule.report(Report(0, Family.SVM, 1, 0.5))
    rule.report(Report(1, Family.FOREST, 1, 0.6))
    assert not rule.has_promotable(eager=False)
    assert rule.has_promotable(eager=True)
    assert [rule.promote(always, eager=True) for _ in range(3)] == [1, 0, None]


def test_the_last_promotions_take_those_within_the_constraints_first_and_each_kind_has_its_place():
    rule = Promotion(Fidelity())
    rule.report(Report(0, Family.SVM, 1, -0.1, is_within=False))
    rule.report(Report(1, Family.SVM, 1, -30.0))
    rule.report(Report(2, Family.SVM, 3, -0.2, is_within=False))
    assert [rule.promote(always, eager=True) for _ in range(4)] == [1, 2, 0, None]


def test_those_that_were_drawn_have_their_own_best_third():
    rule = Promotion(Fidelity())
    for trial, value in enumerate((0.9, 0.8, 0.7)):
        rule.report(Report(trial, Family.SVM, 1, value))
        rule.report(Report(3 + trial, Family.SVM, 1, value - 0.3, is_drawn=True))
    assert [rule.promote(always, eager=False) for _ in range(3)] == [0, 3, None]


def test_while_a_kind_has_no_third_its_trials_must_be_among_the_best_of_all():
    rule = Promotion(Fidelity())
    rule.report(Report(0, Family.SVM, 1, 0.9))
    rule.report(Report(1, Family.SVM, 1, 0.2, is_drawn=True))
    assert rule.deserving(eager=True) == {0}, "one at each rung, not one of each kind"
    rule.report(Report(2, Family.SVM, 1, 0.95, is_drawn=True))
    assert rule.deserving(eager=False) == {2}


def test_an_ended_trial_is_not_promoted_but_compared_with():
    rule = Promotion(Fidelity())
    for trial, value in enumerate((0.9, 0.7, 0.6)):
        rule.report(Report(trial, Family.SVM, 1, value))
    rule.leave(0)
    assert rule.promote(always, eager=False) is None
    for trial in (3, 4, 5):
        rule.report(Report(trial, Family.SVM, 1, 0.1))
    assert rule.promote(always, eager=False) == 1


def test_of_those_that_do_not_deserve_to_go_on_the_best_few_wait():
    rule = Promotion(Fidelity())
    count = 3 * MOST_WAITING
    for trial in range(count):
        rule.report(Report(trial, Family.SVM, 1, trial / count))
        rule.report(Report(count + trial, Family.FOREST, 1, 0.5))
        rule.report(Report(2 * count + trial, Family.SVM, 1, trial / count, is_drawn=True))
        assert not rule.passed_over or trial >= MOST_WAITING
    best = set(range(count - MOST_WAITING, count))  # the best third
    waiting = set(range(count - 2 * MOST_WAITING, count - MOST_WAITING))
    assert {trial for trial in rule.paused - rule.passed_over if trial < count} == best | waiting
    assert len(rule.paused - rule.passed_over) == 3 * len(best | waiting)  # each family and each kind has its own
    for trial in rule.passed_over:
        rule.leave(trial)
    assert not rule.passed_over
    taken = [rule.promote(lambda trial: trial < count, eager=False) for _ in range(MOST_WAITING + 1)]
    assert taken == [*sorted(best, reverse=True), None]


def test_an_eager_promotion_passes_over_whom_it_lost():
    rule = Promotion(Fidelity())
    for trial, value in enumerate((0.6, 0.5, 0.4)):
        rule.report(Report(trial, Family.SVM, 1, value))
    assert rule.promote(always, eager=True) == 0
    rule.leave(0)  # it failed on its way
    assert rule.promote(always, eager=False) is None
    assert rule.promote(always, eager=True) == 1
    for fidelity in (3, 9, 27):
        rule.report(Report(1, Family.SVM, fidelity, 0.5))
        rule.take_up(1)
    rule.leave(1)
    assert rule.promote(always, eager=True) is None, "one has reached the end"


def test_an_eager_promotion_passes_over_whom_an_earlier_session_left_at_the_rung():
    rule = Promotion(Fidelity())
    rule.report(Report(0, Family.SVM, 9, 0.7))
    rule.leave(0)
    for trial, value in ((1, 0.69), (2, 0.68)):
        rule.report(Report(trial, Family.SVM, 9, value))
    assert rule.promote(always, eager=False) is None
    assert rule.promote(always, eager=True) == 1


def test_an_eager_promotion_spares_no_one_in_the_place_of_whom_an_earlier_session_left():
    rule = Promotion(Fidelity(), margin=0.05)
    rule.report(Report(0, Family.SVM, 9, 0.7))
    rule.leave(0)
    for trial, value in ((1, 0.69), (2, 0.68), (3, 0.4)):
        rule.report(Report(trial, Family.SVM, 9, value))
    assert rule.deserving(eager=True) == {1, 2}


def test_with_rungs_in_seconds_a_trial_that_reached_the_end_is_none_that_was_left():
    rule = Promotion(Fidelity(), first_seconds=10)
    rule.report(Report(0, Family.SVM, 27, 0.9, seconds=12))
    rule.report(Report(1, Family.SVM, 9, 0.6, seconds=12))
    assert rule.promote(always, eager=True) is None


def test_of_those_that_an_eager_promotion_took_up_none_is_replaced_because_it_was_left_further_on():
    rule = Promotion(Fidelity())
    for trial, value in ((0, 0.7), (1, 0.6)):
        rule.report(Report(trial, Family.SVM, 1, value))
    assert rule.promote(always, eager=True) == 0
    rule.report(Report(0, Family.SVM, 3, 0.7))
    rule.leave(0)
    assert rule.promote(always, eager=True) is None


def test_a_lost_trial_costs_no_other_its_place():
    rule = Promotion(Fidelity())
    for trial, value in enumerate((0.6, 0.5, 0.4)):
        rule.report(Report(trial, Family.SVM, 1, value))
    assert rule.promote(always, eager=False) == 0
    rule.leave(0)
    for trial, value in ((3, 0.7), (4, 0.8), (5, 0.3)):
        rule.report(Report(trial, Family.SVM, 1, value))
    assert [rule.promote(always, eager=True) for _ in range(2)] == [4, 3]
