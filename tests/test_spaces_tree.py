"""Random draws: uniform on the scale that a parameter has."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from spaces.tree import RandomDraw

DRAWS = 2000


def drawn(ask):
    return [ask(RandomDraw(random.Random(number))) for number in range(DRAWS)]


def test_a_log_scale_is_drawn_in_logs():
    for low, high in ((0.03, 100.0), (1e-5, 1e-2)):
        values = drawn(lambda draw, low=low, high=high: draw.suggest_float("x", low, high, log=True))
        assert 0.45 < sum(value < math.sqrt(low * high) for value in values) / DRAWS < 0.55
    whole = drawn(lambda draw: draw.suggest_int("x", 1, 100, log=True))
    assert 0.4 < sum(value < 10 for value in whole) / DRAWS < 0.6
    assert set(whole) >= {1, 2, 3}


def test_a_linear_scale_is_drawn_evenly():
    values = drawn(lambda draw: draw.suggest_float("x", 1.0, 100.0))
    assert 0.45 < sum(value < 50.5 for value in values) / DRAWS < 0.55


@given(st.floats(1e-6, 1e3), st.floats(1.0, 1e3), st.booleans(), st.integers(0, 2**31))
def test_draws_keep_to_their_bounds(low, factor, log, seed):
    draw = RandomDraw(random.Random(seed))
    assert low <= draw.suggest_float("x", low, low * factor, log=log) <= low * factor
    first, last = math.ceil(low), math.ceil(low * factor)
    assert first <= draw.suggest_int("y", first, last, log=log) <= last
