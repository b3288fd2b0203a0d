"""TPE on a window of the study: what it sees, that it learns from it as Optuna's own does, and what it draws."""

import statistics

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.tpe import BEST, LATEST, PLACE, WindowedTPE, window

FAMILY = CategoricalDistribution(("svm", "forest"))


def ended(number: int, family: str, state: TrialState, value: float, violation: float = 0.0) -> FrozenTrial:
    trial = create_trial(
        state=state,
        params={"family": family},
        distributions={"family": FAMILY},
        value=None if state is TrialState.RUNNING else value,
        intermediate_values={3: value},
        constraints={"latency_ms": violation},
    )
    trial.number = number
    return trial


TRIALS = st.lists(
    st.tuples(
        st.sampled_from(["svm", "forest"]),
        st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING]),
        st.floats(0, 1),
    ),
    max_size=400,
)


@given(TRIALS)
@settings(max_examples=40, deadline=None)
def test_the_window_holds_the_running_the_best_and_the_latest(drawn):
    trials = [ended(number, *each) for number, each in enumerate(drawn)]
    seen = window(trials, {})
    numbers = [trial.number for trial in seen]
    assert numbers == sorted(set(numbers))
    running = {trial.number for trial in trials if trial.state is TrialState.RUNNING}
    assert running <= set(numbers)
    assert len(seen) <= len(running) + BEST + 2 * LATEST
    complete = sorted((t for t in trials if t.state is TrialState.COMPLETE), key=lambda t: t.value, reverse=True)
    assert {trial.value for trial in complete[:BEST]} <= {trial.value for trial in seen}
    for family in ("svm", "forest"):
        own = [t for t in trials if t.params["family"] == family and t.state is not TrialState.RUNNING]
        assert {trial.number for trial in own[-LATEST:]} <= set(numbers)


def test_a_trial_that_breaks_a_constraint_is_not_among_the_best():
    breaking = [ended(number, "svm", TrialState.COMPLETE, 0.9, violation=1.0) for number in range(2 * BEST)]
    keeping = ended(2 * BEST, "svm", TrialState.PRUNED, 0.1)
    later = [ended(2 * BEST + 1 + number, "svm", TrialState.COMPLETE, 0.8, violation=2.0) for number in range(LATEST)]
    assert keeping in window([*breaking, keeping, *later], {})


def test_of_those_that_break_a_constraint_the_nearest_to_keeping_it_are_among_the_best():
    near = ended(0, "svm", TrialState.COMPLETE, 0.1, violation=0.01)
    others = [ended(1 + number, "svm", TrialState.COMPLETE, 0.9, violation=1.0) for number in range(BEST + LATEST)]
    assert near in window([near, *others], {})


def objective(trial: optuna.Trial) -> float:
    """Best at svm.x = 0.3; the forest has another parameter and is worse everywhere."""
    if trial.suggest_categorical("family", ["svm", "forest"]) == "svm":
        return 1 - abs(trial.suggest_float("svm.x", 0, 1) - 0.3) - 0.1 * trial.suggest_int("svm.n", 0, 3)
    return 0.5 - trial.suggest_float("forest.y", 0, 1)


NONE = frozenset[str]()


def asked_for(study: optuna.Study, family: str) -> list[optuna.Trial]:
    """Ten trials of `family`, so many that some are modelled and some drawn at random."""
    trials = []
    for _ in range(10):
        study.enqueue_trial({"family": family})
        trials.append(study.ask())
        objective(trials[-1])
    return trials


def found(sampler: optuna.samplers.BaseSampler, trials: int) -> optuna.Study:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


def test_it_learns_families_and_parameters_beyond_the_window():
    study = found(WindowedTPE(seed=0, startup_trials=10), 2 * LATEST + BEST)
    late = study.trials[-40:]
    assert sum(trial.params["family"] == "svm" for trial in late) > 30
    assert study.best_value > found(RandomSampler(seed=0), 100).best_value
    assert max(len(trial.params) for trial in late) == 3, "a trial has the parameters of its family alone"


def test_start_up_may_be_longer_than_the_window_and_ends():
    startup = 2 * LATEST + 2 * BEST
    study = found(WindowedTPE(seed=0, startup_trials=startup), startup + 40)
    drawn = study.trials[:startup]
    assert 0.4 < sum(trial.params["family"] == "svm" for trial in drawn) / startup < 0.6
    assert sum(trial.params["family"] == "svm" for trial in study.trials[-40:]) > 30


def test_a_paused_trial_that_breaks_a_constraint_teaches_so():
    sampler = WindowedTPE(seed=0, startup_trials=1)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for value in (0.6, 0.5):
        trial = study.ask()
        objective(trial)
        trial.report(value, 1)
    sampler.pause(0, {"val_accuracy >= 0.9": 0.3})
    sampler.pause(1, {"val_accuracy >= 0.9": -0.1})
    shown = sampler._trials(study)
    assert [(each.state, each.constraints) for each in shown] == [
        (TrialState.PRUNED, {"val_accuracy >= 0.9": 0.3}),
        (TrialState.PRUNED, {"val_accuracy >= 0.9": -0.1}),
    ]
    assert window(shown, ranks := {}) == shown
    assert ranks[0] < ranks[1]
    sampler.pause(0, None)
    assert sampler._trials(study)[0].state is TrialState.RUNNING


def test_stopped_trials_teach_it_the_parameters_of_their_family():
    study = optuna.create_study(direction="maximize", sampler=WindowedTPE(seed=0, startup_trials=5))
    for number in range(20):
        trial = study.ask()
        value = objective(trial)
        trial.report(value, 1)
        study.tell(
            trial, value if number == 0 else None, state=TrialState.COMPLETE if number == 0 else TrialState.PRUNED
        )
    assert {frozenset(each.relative_params) for each in asked_for(study, "forest")} == {frozenset({"forest.y"}), NONE}


@pytest.mark.parametrize("family", ["svm", "forest"])
def test_a_family_that_is_given_is_kept_and_modelled(family):
    study = found(WindowedTPE(seed=0, startup_trials=5), 40)
    trials = asked_for(study, family)
    assert {trial.params["family"] for trial in trials} == {family}
    names = {"svm": {"svm.x", "svm.n"}, "forest": {"forest.y"}}[family]
    assert {frozenset(trial.relative_params) for trial in trials} == {frozenset(names), NONE}


def test_a_third_of_the_trials_is_drawn_at_random_within_the_family_that_the_model_chose():
    study = optuna.create_study(direction="maximize", sampler=WindowedTPE(seed=0, startup_trials=10))
    drawn, modelled = list[optuna.Trial](), list[optuna.Trial]()
    for _ in range(30 + 120):
        trial = study.ask()
        study.tell(trial, objective(trial))
        if trial.number >= 30:
            (drawn if set(trial.relative_params) <= {"family"} else modelled).append(trial)
    assert 0.22 < len(drawn) / (len(drawn) + len(modelled)) < 0.45
    for trials, is_near in ((modelled, True), (drawn, False)):
        distances = [abs(trial.params["svm.x"] - 0.3) for trial in trials if trial.params["family"] == "svm"]
        assert len(distances) > 0.8 * len(trials), "the model chooses the family of those that are drawn, too"
        assert (statistics.median(distances) < 0.15) is is_near


def test_the_seed_fixes_the_suggestions():
    first, again, other = (found(WindowedTPE(seed, 5), 30) for seed in (0, 0, 1))
    assert [trial.params for trial in first.trials] == [trial.params for trial in again.trials]
    assert [trial.params for trial in first.trials] != [trial.params for trial in other.trials]


def test_a_paused_trial_teaches_as_a_stopped_one_does():
    sampler = WindowedTPE(0, 10)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distances = []
    for number in range(60):
        trial = study.ask()
        trial.report(objective(trial), 1)
        sampler.pause(trial.number, {})
        if number >= 30 and "svm.x" in trial.params:
            distances.append(abs(trial.params["svm.x"] - 0.3))
    assert len(distances) > 15
    assert sorted(distances)[len(distances) // 2] < 0.15
    sampler.pause(0, None)
    assert {trial.state for trial in study.trials} == {TrialState.RUNNING}


def test_a_trial_that_went_on_after_a_pause_ranks_by_its_end():
    sampler = WindowedTPE(0, 1)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def begin() -> optuna.Trial:
        """A trial of the one family, of which there are more than the window's latest."""
        study.enqueue_trial({"family": "svm"})
        trial = study.ask()
        objective(trial)
        return trial

    promoted = begin()
    promoted.report(-1.0, 1)
    sampler.pause(promoted.number, {})
    begin()  # TPE sees the paused one, last of all
    sampler.pause(promoted.number, None)
    for _ in range(2 * (BEST + LATEST)):
        trial = begin()
        trial.report(0.0, 3)
        study.tell(trial, state=TrialState.PRUNED)
    study.tell(promoted, 10.0)
    trial = begin()
    seen = sampler._seen(study, study.trials[trial.number])._get_trials()
    assert promoted.number in {each.number for each in seen}


def best(seed: int, earlier: str, count: int) -> tuple[float, float]:
    """The best of a search's first ten trials, and of forty, after an earlier run of `count` whose values are lower."""
    study = optuna.create_study(direction="maximize", sampler=WindowedTPE(seed, startup_trials=10))
    if earlier != "none":
        run = found(WindowedTPE(seed + 100, startup_trials=10), count).trials
        order = sorted(run, key=lambda trial: trial.value, reverse=True)
        for place, trial in enumerate(order):
            attributes = {PLACE: place / len(order)} if earlier == "by its order" else {}
            study.add_trial(
                create_trial(
                    state=TrialState.PRUNED,
                    params=trial.params,
                    distributions=trial.distributions,
                    intermediate_values={0: trial.value / 100},
                    user_attrs=attributes,
                )
            )
    study.optimize(objective, n_trials=40)
    values = [trial.value for trial in study.trials[-40:]]
    return max(values[:10]), max(values)


def test_those_from_other_data_break_a_constraint_where_those_at_their_place_here_do():
    study = optuna.create_study(direction="maximize", sampler=(sampler := WindowedTPE(0, startup_trials=0)))
    for place in range(10):
        stranger = ended(place, "svm", TrialState.PRUNED, -place)
        stranger.user_attrs = {PLACE: place / 10}
        study.add_trial(stranger)
    for number in range(10):
        violation = 0.0 if number < 5 else 1.0
        study.add_trial(ended(number, "svm", TrialState.COMPLETE, (number + 1) / 10, violation=violation))
    trial = study.ask()
    strangers = sampler._seen(study, study.trials[trial.number])._get_trials()[:10]
    kept = [each.constraints["latency_ms"] <= 0 for each in strangers]
    assert kept == [True] * 5 + [False] * 5
    assert [each.value for each in strangers[:5]] == [0.5, 0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize("count", [20, pytest.param(150, marks=pytest.mark.slow)])
def test_the_order_of_trials_on_other_data_leads_to_good_ones_and_does_not_lead_astray_later(count):
    early, late = dict[str, float](), dict[str, float]()
    for way in ("by its order", "below all", "none"):
        early[way], late[way] = (
            statistics.fmean(values) for values in zip(*(best(seed, way, count) for seed in range(8)), strict=True)
        )
    assert early["by its order"] > early["none"] + 0.1
    assert late["by its order"] > late["none"] - 0.005
    assert late["by its order"] > late["below all"] + 0.003
