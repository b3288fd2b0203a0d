import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.scheduler import Asha, goes_on
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
    for family, fidelity, value in reports:
        asha.report(family, fidelity, value)
    for key, recorded in asha.rungs.items():
        assert recorded == [value for family, fidelity, value in reports if (family, fidelity) == key]


def test_a_slow_starter_is_compared_with_its_like():
    asha = Asha(Fidelity())
    for _ in range(9):
        asha.report(Family.FOREST, 1, 0.6)
    assert asha.report(Family.RESNET, 1, 0.4)


def test_full_fidelity_ends_a_trial_and_is_no_rung():
    asha = Asha(Fidelity())
    assert not asha.report(Family.SVM, 27, 0.9)
    assert not asha.rungs


def test_a_report_off_the_rungs_is_an_error_not_silence():
    with pytest.raises(ValueError, match="fidelity 5 is not a rung"):
        Asha(Fidelity()).report(Family.SVM, 5, 0.9)
