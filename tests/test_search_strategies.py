"""Points, samplers and schedulers, through the engine."""

from collections import Counter

import pytest
from engine_run import Run, plan_of, report, run_to_end
from optuna.trial import TrialState

from results.leaderboard import trials_of
from results.schema import Status, TrialEnd
from search.scheduler import Verdict
from search.strategies import MedianStopping
from spaces.family import Family
from spaces.joint import parse_config


def test_points_are_tried_first_and_start_up_trials_follow(tmp_path):
    points = [{"family": "svm", "kernel": "linear", "C": 0.5}, {"family": "forest", "depth": 9}]
    run = Run(tmp_path, plan_of(points=points, known_points=False), concurrency=1)
    run_to_end(run.session(), 1)  # killed in between, so that the second is asked for by another session
    engine = run.session()
    run_to_end(engine)
    first, second = (engine.trials[number].config for number in (0, 1))
    assert (first["kernel"], first["C"], second["depth"]) == ("linear", 0.5, 9)
    families = [engine.trials[number].family for number in range(2, 6)]
    assert families == [Family.SVM, Family.FOREST, Family.RESNET, Family.SVM]
    assert run.study()[0].params["svm.C"] == 0.5
    assert len(run.study()) == 12


def test_a_family_without_a_point_begins_with_what_is_known_to_be_good(tmp_path):
    point = {"family": "svm", "kernel": "linear", "C": 0.5}
    run = Run(tmp_path, plan_of(points=[point], startup_trials=4), concurrency=1)
    run_to_end(run.session())
    tried = [parse_config(record.config) for record in trials_of(run.events)]
    assert tried[0].kernel == "linear"
    assert tried[1:3] == list(plan_of(startup_trials=4).known_configs(["svm"]))
    assert [config.family for config in tried[1:5]] == ["resnet", "forest", "svm", "svm"]


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_samplers_that_are_to_be_fair_begin_with_nothing_known(sampler):
    listed = {"svm": {"kernel": "linear", "C": [1, 3], "features": {"pca": 0}}, "families": ["svm"]}
    assert plan_of(sampler=sampler, space=listed).known_configs() == ()
    assert len(plan_of(space=listed).known_configs()) == 1


def test_random_suggestions_are_reproducible_and_not_those_of_tpe(tmp_path):
    configs = []
    for name, sampler in (("a", "random"), ("b", "random"), ("c", "tpe")):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name, plan_of(sampler=sampler), concurrency=1)
        run_to_end(run.session())
        configs.append([record.config for record in trials_of(run.events)])
    assert configs[0] == configs[1] != configs[2]


def test_without_a_scheduler_every_trial_finishes(tmp_path):
    engine = Run(tmp_path, plan_of(scheduler="none")).session()
    run_to_end(engine)
    assert {record.status for record in engine.trials.values()} == {Status.FINISHED}


def test_the_median_rule_stops_trials_and_ends_a_search(tmp_path):
    engine = Run(tmp_path, plan_of(scheduler="median", rungs="shared")).session()
    run_to_end(engine)
    assert {record.status for record in engine.trials.values()} == {Status.FINISHED, Status.STOPPED}
    assert len(engine.trials) == 12


STRATEGIES = [
    {},
    {"rungs": "shared"},
    {"rungs": "seconds", "first_seconds": 1},
    {"scheduler": "median"},
    {"promotion": True},
    {"promotion": True, "rungs": "shared"},
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_replay_rebuilds_the_rungs(tmp_path, strategy):
    run = Run(tmp_path, plan_of(**strategy))
    first = run.session()
    run_to_end(first, 15)
    assert first._scheduler.rungs
    again = run.session()._scheduler
    assert again.rungs == first._scheduler.rungs
    assert again.paused == first._scheduler.paused
    if not isinstance(again, MedianStopping):
        assert {rung: each.margin for rung, each in again._foresight.items()} == {
            rung: each.margin for rung, each in first._scheduler._foresight.items()
        }


def test_a_promoted_trial_goes_on_after_a_kill(tmp_path):
    """What was taken up when the driver died is neither paused again nor passed over, however it ranks by then."""
    run = Run(tmp_path, plan_of(budget={"trials": 60}, sampler="random", promotion=True, margin=0), concurrency=2)
    first = run.session()
    while not (taken := [record.trial for record in first.running if record.fidelity]):
        assignment = first.suggest()
        if assignment is not None and not assignment.recorded:
            first.report(report(assignment.trial, 1, 0.9 - assignment.trial / 100))
    again = run.session()
    assert not again._scheduler.paused & set(taken)
    assert {again.suggest().trial for _ in range(len(taken))} >= set(taken)


def test_what_deserves_to_go_on_outlives_the_end_of_time(tmp_path):
    run = Run(tmp_path, plan_of(budget={"minutes": 1}, sampler="random", promotion=True, margin=0), concurrency=8)
    engine = run.session()
    numbers = [engine.suggest().trial for _ in range(6)]
    for number in numbers:
        engine.report(report(number, 1, 0.5 + number / 100))
    families = {number: engine.trials[number].family for number in numbers}
    engine._limits._past_seconds = 100.0  # the minute is over
    engine.close()
    assert engine.is_over
    waiting = {each for each in numbers if engine.trials[each].status is Status.RUNNING}
    # Nothing is at full fidelity yet, so the best of each family is among them, however few they are.
    assert len(waiting) == sum(max(count // 3, 1) for count in Counter(families.values()).values())


@pytest.mark.parametrize("strategy", [*STRATEGIES, {"scheduler": "hyperband"}, {"scheduler": "none"}])
def test_a_search_killed_now_and_then_ends_complete_whatever_the_scheduler(tmp_path, strategy):
    run = Run(tmp_path, plan_of(budget={"trials": 30}, sampler="random", **strategy))
    for reports in (3, 11, 20):
        run_to_end(run.session(), reports)
    engine = run.session()
    run_to_end(engine)
    assert engine.is_exhausted
    engine.close()
    statuses = {record.status for record in engine.trials.values()}
    assert Status.FINISHED in statuses
    assert statuses <= {Status.FINISHED, Status.STOPPED}
    assert len(engine.trials) == 30 == len(run.study())
    assert all(trial.state.is_finished() for trial in run.study())
    measured = [(event.trial, event.fidelity) for event in run.events if hasattr(event, "fidelity")]
    assert len(measured) == len(set(measured))


def test_promotion_does_not_continue_the_first_trial_because_it_came_first(tmp_path):
    engines = {}
    for name, promotion in (("promoted", True), ("stopped", False)):
        (tmp_path / name).mkdir()
        plan = plan_of(budget={"trials": 60}, sampler="random", promotion=promotion, rungs="shared")
        engines[name] = Run(tmp_path / name, plan).session()
        run_to_end(engines[name])
        engines[name].close()
    promoted, stopped = engines["promoted"].trials, engines["stopped"].trials
    assert (promoted[0].fidelity, stopped[0].fidelity) == (1, 27)  # the worst of all
    assert engines["promoted"].incumbent.val_accuracy == max(record.val_accuracy for record in promoted.values())
    assert sum(record.fidelity >= 3 for record in promoted.values()) == 20
    assert sum(r.fidelity for r in promoted.values()) < 0.7 * sum(r.fidelity for r in stopped.values())


def test_a_paused_trial_stays_running_in_the_study_and_in_the_run(tmp_path):
    run = Run(tmp_path, plan_of(promotion=True), concurrency=1)
    engine = run.session()
    assert engine.suggest().trial == 0
    assert engine.report(report(0, 1, 0.5)) is Verdict.PAUSE
    assert not engine.running
    assert run.study()[0].state is TrialState.RUNNING
    assert run.study()[0].intermediate_values == {1: 0.5}
    assert engine.trials[0].status is Status.RUNNING
    assert engine.suggest().trial == 1  # its worker is free


def test_a_paused_trial_of_an_interrupted_search_waits_for_a_resume(tmp_path):
    run = Run(tmp_path, plan_of(promotion=True), concurrency=1)
    first = run.session()
    run_to_end(first, 4)
    first.stop()
    first.close()
    again = run.session()
    assert again._scheduler.paused == first._scheduler.paused
    run_to_end(again)
    again.close()
    assert {record.status for record in again.trials.values()} == {Status.FINISHED, Status.STOPPED}


def test_a_trial_passed_over_just_before_a_kill_ends_at_the_resume(tmp_path):
    plan = plan_of(budget={"trials": 60}, promotion=True, rungs="shared", sampler="random")
    run = Run(tmp_path, plan, concurrency=1)
    run_to_end(run.session(), 40)
    place, end = next((place, event) for place, event in enumerate(run.events) if isinstance(event, TrialEnd))
    assert end.status is Status.STOPPED
    del run.events[place:]
    engine = run.session()
    assert engine.trials[end.trial].status is Status.STOPPED
    assert end.trial not in engine._scheduler.paused


def test_half_of_the_time_without_a_finished_trial_makes_promotion_eager(tmp_path):
    run = Run(tmp_path, plan_of(budget={"minutes": 1}, promotion=True), concurrency=1)
    engine = run.session()
    engine.suggest()
    engine.report(report(0, 1, 0.5))
    assert not engine._is_closing
    engine._limits.began -= 31
    assert engine._is_closing
    assert engine.suggest().trial == 0
