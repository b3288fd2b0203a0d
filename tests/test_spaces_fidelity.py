import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spaces.fidelity import Fidelity


@st.composite
def scales(draw: st.DrawFn) -> Fidelity:
    eta = draw(st.integers(2, 10))
    power = draw(st.integers(0, 3))
    return Fidelity(maximum=eta**power, eta=eta)


def test_default_rungs():
    assert Fidelity().rungs == (1, 3, 9, 27)


@pytest.mark.parametrize(
    ("maximum", "eta", "rungs"), [(1, 3, (1,)), (243, 3, (1, 3, 9, 27, 81, 243)), (16, 4, (1, 4, 16))]
)
def test_rungs(maximum, eta, rungs):
    assert Fidelity(maximum=maximum, eta=eta).rungs == rungs


@pytest.mark.parametrize("values", [{"maximum": 26}, {"maximum": 0}, {"eta": 1}, {"eta": 11}, {"maximum": 9, "eta": 2}])
def test_impossible_scales_are_refused(values):
    with pytest.raises(ValidationError):
        Fidelity(**values)


@given(scales())
def test_rungs_are_powers_that_end_at_full_fidelity(scale: Fidelity):
    rungs = scale.rungs
    assert rungs[0] == 1
    assert rungs[-1] == scale.maximum
    assert all(high == scale.eta * low for low, high in itertools.pairwise(rungs))


@given(scales(), st.data())
def test_next_rung_is_the_lowest_above(scale: Fidelity, data: st.DataObject):
    fidelity = data.draw(st.integers(0, scale.maximum - 1))
    following = scale.next_rung(fidelity)
    assert following in scale.rungs
    assert fidelity < following
    assert not any(fidelity < rung < following for rung in scale.rungs)


def test_no_rung_above_full_fidelity():
    with pytest.raises(ValueError, match="no rung above fidelity 27"):
        Fidelity().next_rung(27)


@given(scales(), st.integers(1, 10**7), st.data())
def test_units_grow_from_at_least_one_to_all(scale: Fidelity, total: int, data: st.DataObject):
    low = data.draw(st.integers(1, scale.maximum))
    high = data.draw(st.integers(low, scale.maximum))
    assert 1 <= scale.units(total, low) <= scale.units(total, high) <= total
    assert scale.units(total, scale.maximum) == total


@pytest.mark.parametrize("fidelity", [0, 28, -1])
def test_units_outside_the_scale(fidelity):
    with pytest.raises(ValueError, match="fidelity must be 1..27"):
        Fidelity().units(100, fidelity)
