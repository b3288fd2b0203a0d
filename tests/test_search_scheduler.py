import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.scheduler import Asha, MedianStopping, NoStopping, goes_on
from spaces.family import Family
from spaces.fidelity import Fidelity

values = st.floats(0, 1, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "others", "goes"),
    [
        (0.1, [], True),
        (0.5, [0.4], True),
        (0.4, [0.5], False),
        (0.5, [0.5], True),
        (0.7, [0.9, 0.1, 0.2, 0.3, 0.4], True),
        (0.4, [0.9, 0.8, 0.2, 0.3, 0.1], False),
    ],
)
def test_the_best_third_goes_on(value, others, goes):
    assert goes_on(value, others, eta=3) is goes


@given(values, st.lists(values, max_size=50), st.integers(2, 10))
def test_the_best_always_goes_on_and_rank_decides(value, others, eta):
    rank = 1 + sum(other > value for other in others)
    assert goes_on(value, others, eta) == (rank <= max(1, (len(others) + 1) // eta))


@given(st.lists(values, min_size=1, max_size=200, unique=True), st.integers(2, 4))
def test_a_better_value_is_never_stopped_where_a_worse_one_would_go_on(others, eta):
    for low, high in zip(sorted(others), sorted(others)[1:], strict=False):
        assert goes_on(high, others, eta) or not goes_on(low, others, eta)


@given(st.lists(st.tuples(st.sampled_from(Family), st.sampled_from([1, 3, 9]), values), max_size=100))
def test_rungs_keep_every_value_in_order_of_arrival(reports):
    asha = Asha(Fidelity())
    for trial, (family, fidelity, value) in enumerate(reports):
        asha.report(trial, family, fidelity, value)
    for key, recorded in asha.rungs.items():
        assert recorded == [value for family, fidelity, value in reports if (family, fidelity) == key]


def test_a_slow_starter_is_compared_with_its_like():
    asha = Asha(Fidelity())
    for _ in range(9):
        asha.report(0, Family.FOREST, 1, 0.6)
    assert asha.report(0, Family.RESNET, 1, 0.4)


def test_full_fidelity_ends_a_trial_and_is_no_rung():
    asha = Asha(Fidelity())
    assert not asha.report(0, Family.SVM, 27, 0.9)
    assert not asha.rungs


def test_a_report_off_the_rungs_is_an_error_not_silence():
    with pytest.raises(ValueError, match="fidelity 5 is not a rung"):
        Asha(Fidelity()).report(0, Family.SVM, 5, 0.9)


def test_shared_rungs_compare_all_families():
    asha = Asha(Fidelity(), shared=True)
    assert asha.report(0, Family.FOREST, 1, 0.6)
    assert not asha.report(1, Family.RESNET, 1, 0.4)
    assert asha.rungs == {(None, 1): [0.6, 0.4]}


def test_a_trial_within_the_margin_of_the_bar_goes_on():
    asha = Asha(Fidelity(), margin=0.01)
    assert [asha.report(trial, Family.SVM, 1, value) for trial, value in enumerate((0.7, 0.695, 0.685))] == [
        True,
        True,
        False,
    ]
    assert asha.rungs[Family.SVM, 1] == [0.7, 0.695, 0.685]


def test_the_median_of_running_means_decides_once_four_trials_were_there():
    rule = MedianStopping(Fidelity())
    for trial, (first, second) in enumerate([(0.1, 0.3), (0.2, 0.4), (0.3, 0.5), (0.4, 0.6)]):
        assert rule.report(trial, Family.SVM, 1, first)
        assert rule.report(trial, Family.SVM, 3, second)
    assert rule.rungs[Family.SVM, 3] == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert rule.report(4, Family.SVM, 1, 0.25)  # the median is 0.25
    assert not rule.report(4, Family.SVM, 3, 0.34)  # the median is 0.35
    assert rule.report(5, Family.SVM, 1, 0.36)
    assert rule.report(5, Family.SVM, 3, 0.1)  # its best value so far counts, as in Vizier
    assert rule.report(6, Family.FOREST, 1, 0.0)


def test_full_fidelity_ends_a_trial_whatever_the_scheduler():
    for rule in (MedianStopping(Fidelity()), NoStopping(Fidelity())):
        assert [rule.report(0, Family.SVM, fidelity, 0.1) for fidelity in (1, 3, 9, 27)] == [True, True, True, False]
        assert [rule.report(1, Family.SVM, fidelity, 0.0) for fidelity in (1, 3, 9, 27)] == [True, True, True, False]
