import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from search.foresight import Foresight
from search.plan import validate_plan
from search.promotion import Promotion
from search.scheduler import Asha, Learned, Report, Verdict, goes_on
from search.strategies import Hyperband, MedianStopping, NoStopping, bracket_sizes, build_scheduler
from spaces.family import Family
from spaces.fidelity import Fidelity

GO_ON, PAUSE, END = Verdict.GO_ON, Verdict.PAUSE, Verdict.END
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


@given(st.lists(st.tuples(st.sampled_from(Family), st.sampled_from([1, 3, 9]), st.booleans(), values), max_size=100))
def test_rungs_keep_every_value_in_order_of_arrival(reports):
    asha = Asha(Fidelity())
    for trial, (family, fidelity, is_drawn, value) in enumerate(reports):
        asha.report(Report(trial, family, fidelity, value, is_drawn=is_drawn))
    for rung, recorded in asha.rungs.items():
        kind = (rung.family, rung.level, rung.is_drawn)
        assert recorded == [value for *each, value in reports if tuple(each) == kind]


def test_a_slow_starter_is_compared_with_its_like():
    asha = Asha(Fidelity())
    for _ in range(9):
        asha.report(Report(0, Family.FOREST, 1, 0.6))
    assert asha.report(Report(0, Family.RESNET, 1, 0.4)) is GO_ON


@pytest.mark.parametrize("rungs", ["family", "shared", "seconds"])
@pytest.mark.parametrize(
    "fields", [{"margin": 0}, {"scheduler": "median"}, {"scheduler": "hyperband", "margin": 0}], ids=str
)
def test_a_trial_that_was_drawn_is_compared_with_its_like(fields, rungs):
    plan = {"rungs": rungs, "first_seconds": 1, "budget": {"trials": 9}, **fields}
    rule = build_scheduler(validate_plan(plan, "test"))
    alike = [trial for trial in range(200) if not isinstance(rule, Hyperband) or rule.bracket(trial) == 0]

    def verdicts(trials, values, is_drawn):
        pairs = zip(trials, values, strict=True)
        reports = [Report(trial, Family.SVM, 1, value, seconds=1.0, is_drawn=is_drawn) for trial, value in pairs]
        return [rule.report(each) for each in reports]

    assert verdicts(alike[:6], [0.7] * 6, is_drawn=False)[-1] is GO_ON
    assert verdicts(alike[6:24], [0.6] * 17 + [0.5], is_drawn=True)[-2:] == [GO_ON, END]
    assert verdicts(alike[24:25], (0.6,), is_drawn=False) == [END], "among all it would be of the best"


@pytest.mark.parametrize("rule", [Asha(Fidelity(), margin=0.2), MedianStopping(Fidelity())], ids=["asha", "median"])
def test_a_trial_that_breaks_a_constraint_is_compared_with_its_like(rule):
    def verdicts(worths, is_within):
        return [rule.report(Report(trial, Family.SVM, 1, worth, is_within=is_within)) for trial, worth in worths]

    outside = verdicts(enumerate((-0.1, -0.1, -0.1, -0.1, -0.3, -0.05)), is_within=False)
    assert outside[4:] == [END, GO_ON], "the margin of the objective spares none of them"
    assert verdicts([(6, -30.0)], is_within=True) == [GO_ON]
    assert verdicts([(7, -31.0), (8, -30.1), (9, -30.1), (10, -30.1), (11, -31.0)], is_within=True)[-1] is END
    for trial in (6, 8, 9, 10):
        assert rule.report(Report(trial, Family.SVM, 3, -30.0)) is GO_ON
    assert rule.report(Report(5, Family.SVM, 3, -31.0)) is END, "what it had while it broke a constraint does not help"


@pytest.mark.parametrize("kind", [Asha, Promotion])
def test_a_margin_that_is_learned_is_never_less_than_chance(kind):
    """Of 4,000 faces, one standard error of a difference about 0.7 is 0.0102."""
    verdicts = {}
    for value in (0.691, 0.688):
        rule = kind(Fidelity(), margin=Learned(4000))
        first = [Report(trial, Family.SVM, 1, value) for trial, value in enumerate((0.7, 0.3, 0.3))]
        for report in [*first, Report(3, Family.SVM, 1, value, 100.0, left=0.0)]:
            verdicts[value] = rule.report(report)
        if kind is Promotion:
            verdicts[value] = GO_ON if 3 in rule.deserving(eager=False) else END
    assert verdicts == {0.691: GO_ON, 0.688: END}


def test_a_margin_is_not_learned_from_what_two_units_say():
    asha = Asha(Fidelity(), margin=Learned())
    for trial in range(4):
        asha.report(Report(trial, Family.SVM, 1, -0.1 * trial, is_within=False))
        asha.report(Report(trial, Family.SVM, 3, -30.0 - trial, is_within=True))
    assert not any(foresight.is_known for foresight in asha._foresight.values())


def test_those_that_were_drawn_and_the_others_learn_one_margin():
    verdicts = []
    for later in ((0.9, 0.89, 0.8, 0.79), (0.8, 0.8, 0.9, 0.9)):  # the rung foretells it without error, and not at all
        asha = Asha(Fidelity(), margin=Learned())
        for fidelity, values in ((1, (0.9, 0.89, 0.8, 0.79)), (3, later)):
            for trial, value in enumerate(values):
                assert asha.report(Report(trial, Family.SVM, fidelity, value, is_drawn=trial % 2 > 0)) is GO_ON
        verdicts.append(asha.report(Report(4, Family.SVM, 1, 0.85, is_drawn=True)))
    assert verdicts == [END, GO_ON]


@pytest.mark.parametrize(
    ("rule", "least"),
    [(Asha(Fidelity()), 2), (Asha(Fidelity(), margin=Learned()), 2), (MedianStopping(Fidelity()), 4)],
)
def test_the_first_ones_of_a_kind_are_compared_with_all(rule, least):
    """A kind of which fewer have come has no best third, and a search of few trials none to spare."""
    for trial in range(6):
        assert rule.report(Report(trial, Family.SVM, 1, 0.7)) is GO_ON
    for trial in range(6, 6 + least):
        assert rule.report(Report(trial, Family.SVM, 1, 0.3, is_drawn=True)) is END
    assert rule.report(Report(6 + least, Family.SVM, 1, 0.5, is_drawn=True)) is GO_ON


def test_a_dear_first_one_of_a_kind_must_be_good_where_time_is_short():
    asha = Asha(Fidelity(), margin=Learned())
    assert asha.report(Report(0, Family.SVM, 1, 0.7, 1.0, left=100.0)) is GO_ON
    assert asha.report(Report(1, Family.SVM, 1, 0.3, 100.0, left=100.0, is_drawn=True)) is END


def test_full_fidelity_ends_a_trial_and_is_no_rung():
    asha = Asha(Fidelity())
    assert asha.report(Report(0, Family.SVM, 27, 0.9)) is END
    assert not asha.rungs


def test_a_report_off_the_rungs_is_an_error_not_silence():
    with pytest.raises(ValueError, match="fidelity 5 is not a rung"):
        Asha(Fidelity()).report(Report(0, Family.SVM, 5, 0.9))


def test_shared_rungs_compare_all_families():
    asha = Asha(Fidelity(), shared=True)
    assert asha.report(Report(0, Family.FOREST, 1, 0.6)) is GO_ON
    assert asha.report(Report(1, Family.RESNET, 1, 0.4)) is END
    assert asha.rungs == {(None, 1, True, False): [0.6, 0.4]}


def run_through(asha: Asha, pairs: list[tuple[float, float]]) -> list[Verdict]:
    """Send trials through the first two rungs, one after the other; their verdicts at the first."""
    verdicts = []
    for trial, (first, second) in enumerate(pairs):
        verdicts.append(asha.report(Report(trial, Family.SVM, 1, first)))
        if verdicts[-1] is GO_ON:
            asha.report(Report(trial, Family.SVM, 3, second))
    return verdicts


def test_the_first_at_a_rung_all_go_on_where_the_margin_is_learned():
    asha = Asha(Fidelity(), margin=Learned())
    verdicts = [
        asha.report(Report(trial, Family.SVM, 1, value)) for trial, value in enumerate((0.9, 0.8, 0.7, 0.6, 0.5, 0.95))
    ]
    assert verdicts == [GO_ON, GO_ON, GO_ON, GO_ON, END, GO_ON]


def test_where_little_time_is_left_a_margin_is_learned_from_cheap_trials_alone():
    def verdicts(family: Family, seconds: float) -> list[Verdict]:
        asha = Asha(Fidelity(), margin=Learned())
        asha.report(Report(0, family, 1, 0.6, seconds, left=100.0))
        return [
            asha.report(Report(trial, family, 1, value, seconds, left=100.0)) for trial, value in ((1, 0.5), (2, 0.61))
        ]

    assert verdicts(Family.RESNET, seconds=10.0) == [GO_ON, GO_ON]  # the next rung takes 20 s more
    assert verdicts(Family.RESNET, seconds=10.1) == [END, GO_ON]
    assert verdicts(Family.SVM, seconds=2.5) == [GO_ON, GO_ON]  # here it takes eight times as many
    assert verdicts(Family.SVM, seconds=2.6) == [END, GO_ON]


def test_a_rung_that_foretells_stops_what_is_behind_and_one_that_does_not_only_the_worst_third():
    firsts = (0.6, 0.7, 0.8, 0.9)
    told = [(value, value + 0.05) for value in firsts]
    untold = [(value, 1.5 - value) for value in firsts]
    behind = [(0.75, 0.8), (0.65, 0.6), (0.64, 0.6)]  # third of five, fifth of six, sixth of seven
    assert run_through(Asha(Fidelity(), margin=Learned()), told + behind)[-3:] == [END, END, END]
    assert run_through(Asha(Fidelity(), margin=Learned()), untold + behind)[-3:] == [GO_ON, END, END]


def test_a_learned_margin_is_the_standard_error_carried_back_to_the_rung():
    later = np.array([0.1, 0.5, 0.3, 0.7])
    foresight = Foresight()
    for earlier, after in zip((0.1, 0.2, 0.3, 0.4), later, strict=True):
        foresight.add(earlier, after)
    slope, cut = np.polyfit((0.1, 0.2, 0.3, 0.4), later, 1)
    residuals = later - slope * np.array([0.1, 0.2, 0.3, 0.4]) - cut
    assert foresight.margin == pytest.approx(np.sqrt((residuals**2).sum() / 2) / slope)


@given(st.lists(st.tuples(values, values), min_size=4, max_size=30), st.floats(0.1, 10), st.floats(-5, 5))
def test_a_learned_margin_follows_the_unit_of_the_objective(pairs, scale, shift):
    plain, scaled = Foresight(), Foresight()
    for earlier, later in pairs:
        plain.add(earlier, later)
        scaled.add(earlier * scale + shift, later * scale + shift)
    assume(np.std([earlier for earlier, _ in pairs]) > 1e-3)
    assume(abs(np.cov(np.array(pairs).T)[0, 1]) > 1e-6)
    assert scaled.margin == pytest.approx(plain.margin * scale, rel=1e-4, abs=1e-6)


def test_hyperband_forgets_a_trial_that_has_ended():
    ended, others = Hyperband([Asha(Fidelity(), margin=Learned()) for _ in range(4)], Fidelity()), 12
    for trial in range(others):
        for fidelity in (1, 3, 9):
            ended.report(Report(trial, Family.SVM, fidelity, trial / others))
        ended.leave(trial)
    assert all(not bracket._passed for bracket in ended._brackets)


def test_a_trial_within_the_margin_of_the_bar_goes_on():
    asha = Asha(Fidelity(), margin=0.01)
    assert [asha.report(Report(trial, Family.SVM, 1, value)) for trial, value in enumerate((0.7, 0.695, 0.685))] == [
        GO_ON,
        GO_ON,
        END,
    ]
    assert asha.rungs[Family.SVM, 1, True, False] == [0.7, 0.695, 0.685]


def test_the_median_of_running_means_decides_once_four_trials_were_there():
    rule = MedianStopping(Fidelity())
    for trial, (first, second) in enumerate([(0.1, 0.3), (0.2, 0.4), (0.3, 0.5), (0.4, 0.6)]):
        assert rule.report(Report(trial, Family.SVM, 1, first)) is GO_ON
        assert rule.report(Report(trial, Family.SVM, 3, second)) is GO_ON
    assert rule.rungs[Family.SVM, 3, True, False] == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert rule.report(Report(4, Family.SVM, 1, 0.25)) is GO_ON  # the median is 0.25
    assert rule.report(Report(4, Family.SVM, 3, 0.34)) is END  # the median is 0.35
    assert rule.report(Report(5, Family.SVM, 1, 0.36)) is GO_ON
    assert rule.report(Report(5, Family.SVM, 3, 0.1)) is GO_ON  # its best value so far counts, as in Vizier
    assert rule.report(Report(6, Family.FOREST, 1, 0.0)) is GO_ON


def test_full_fidelity_ends_a_trial_whatever_the_scheduler():
    for rule in (MedianStopping(Fidelity()), NoStopping(Fidelity())):
        for value in (0.1, 0.0):
            verdicts = [rule.report(Report(0, Family.SVM, fidelity, value)) for fidelity in (1, 3, 9, 27)]
            assert verdicts == [GO_ON, GO_ON, GO_ON, END]


def test_rungs_in_seconds_record_a_trial_at_every_rung_it_passes():
    asha = Asha(Fidelity(), shared=True, first_seconds=5.0)
    assert asha.report(Report(0, Family.SVM, 1, 0.5, 4.0)) is GO_ON  # no rung yet
    assert asha.report(Report(0, Family.SVM, 3, 0.6, 50.0)) is GO_ON
    assert asha.report(Report(1, Family.FOREST, 1, 0.55, 16.0)) is END  # its like at 15 seconds had 0.6
    assert asha.report(Report(0, Family.SVM, 9, 0.61, 60.0)) is GO_ON  # between two rungs nobody is judged
    assert asha.rungs == {
        (None, 5.0, True, False): [0.6, 0.55],
        (None, 15.0, True, False): [0.6, 0.55],
        (None, 45.0, True, False): [0.6],
    }


@pytest.mark.parametrize("kind", [Asha, Promotion, MedianStopping])
def test_rungs_in_seconds_know_of_what_a_trial_passed_on_its_way_to_the_end(kind):
    rule = kind(Fidelity(), shared=True, first_seconds=5.0)
    assert rule.report(Report(0, Family.SVM, 27, 0.8, 36.0)) is END
    assert rule.rungs == {(None, 5.0, True, False): [0.8], (None, 15.0, True, False): [0.8]}
    assert not rule.paused


def test_a_dear_trial_must_keep_up_with_one_that_has_finished():
    asha = Asha(Fidelity(), shared=True, first_seconds=5.0)
    asha.report(Report(0, Family.SVM, 27, 0.8, 36.0))
    assert asha.report(Report(1, Family.RESNET, 3, 0.4, 20.0)) is END


def test_brackets_have_the_sizes_of_hyperband():
    assert bracket_sizes(Fidelity()) == [27, 12, 6, 4]
    assert bracket_sizes(Fidelity(maximum=1)) == [1]


def test_hyperband_deals_trials_out_and_judges_each_bracket_by_itself():
    rule = Hyperband([Asha(Fidelity()) for _ in range(4)], Fidelity())
    dealt = [rule.bracket(trial) for trial in range(49)]
    assert [dealt.count(bracket) for bracket in range(4)] == [27, 12, 6, 4]
    assert len(set(dealt[:8])) >= 3
    early = [trial for trial in range(49) if rule.bracket(trial) == 0][:2]
    late = [trial for trial in range(49) if rule.bracket(trial) == 3][:2]
    first = [rule.report(Report(trial, Family.SVM, 1, value)) for trial, value in zip(early, (0.6, 0.5), strict=True)]
    assert first == [GO_ON, END]
    for trial, value in zip(late, (0.6, 0.5), strict=True):
        verdicts = [rule.report(Report(trial, Family.SVM, fidelity, value)) for fidelity in (1, 3, 9, 27)]
        assert verdicts == [GO_ON, GO_ON, GO_ON, END]


def test_brackets_of_hyperband_in_seconds_judge_later_by_a_factor_of_eta():
    plan = validate_plan({"budget": {"trials": 9}, "scheduler": "hyperband", "rungs": "seconds", "margin": 0}, "test")
    rule = build_scheduler(plan)
    assert isinstance(rule, Hyperband)
    *second, slow = [trial for trial in range(49) if rule.bracket(trial) == 1][:3]
    for trial, value in zip(second, (0.6, 0.5), strict=True):
        # The first bracket has judged at 5 seconds.
        assert rule.report(Report(trial, Family.SVM, 3, value, 14.0)) is GO_ON
        assert rule.report(Report(trial, Family.SVM, 9, value, 16.0)) is (GO_ON if value == 0.6 else END)
    assert rule.report(Report(slow, Family.SVM, 1, 0.4, 16.0)) is END  # whatever its fidelity
