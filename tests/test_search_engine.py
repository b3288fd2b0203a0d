"""The search without Ray: the engine is driven by hand, with a real study and real events."""

import statistics
from collections import Counter

import pytest
from engine_run import Run, fail, make_plan, plan_of, report, run_to_end, value_of
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from results.leaderboard import trials_of
from results.schema import Status, TrialEnd, TrialStart
from search.engine import MAX_LOST_WORKERS, Engine
from search.ledger import LEFT_PAUSED
from search.lineup import MAX_WAITING
from search.plan import validate_plan
from search.scheduler import Verdict
from spaces.family import Family


def test_a_whole_search(tmp_path):
    run = Run(tmp_path, make_plan())
    engine = run.session()
    run_to_end(engine)
    assert engine.is_exhausted
    assert not engine.running
    assert len(engine.trials) == 12
    statuses = {record.status for record in engine.trials.values()}
    assert statuses == {Status.FINISHED, Status.STOPPED}
    finished = [record for record in engine.trials.values() if record.status is Status.FINISHED]
    assert engine.incumbent == max(finished, key=lambda record: record.val_accuracy)


def test_start_up_trials_take_the_families_in_turn_the_dearest_known_one_first(tmp_path):
    engine = Run(tmp_path, make_plan()).session()
    run_to_end(engine)
    first = [engine.trials[number].family for number in range(4)]
    assert first == [Family.RESNET, Family.SVM, Family.FOREST, Family.SVM]


def test_where_time_is_short_dear_trials_must_be_good_and_a_replay_takes_none_back(tmp_path):
    space = {"families": ["resnet"], "resnet": {"weights": "imagenet"}}
    run = Run(tmp_path, plan_of(space=space, budget={"minutes": 5}), concurrency=3)
    engine = run.session()
    first, second, third = (engine.suggest().trial for _ in range(3))
    dear = {"total_seconds": 35.0}  # the next rung takes 70 s more, and a fifth of the time is 60 s
    assert engine.report(report(first, 1, 0.6) | dear) is Verdict.GO_ON
    assert engine.report(report(second, 1, 0.5)) is Verdict.GO_ON
    assert engine.report(report(third, 1, 0.5) | dear) is Verdict.END
    run.plan = plan_of(space=space, budget={"minutes": 0.05})
    again = run.session()
    assert {number: trial.status for number, trial in again.trials.items()} == {
        first: Status.RUNNING,
        second: Status.RUNNING,
        third: Status.STOPPED,
    }


def test_the_study_is_told_the_truth_about_stopped_trials(tmp_path):
    run = Run(tmp_path, make_plan())
    engine = run.session()
    run_to_end(engine)
    states = {Status.FINISHED: TrialState.COMPLETE, Status.STOPPED: TrialState.PRUNED}
    for trial in run.study():
        record = engine.trials[trial.number]
        assert trial.state is states[record.status]
        assert trial.intermediate_values == {m.fidelity: m.val_accuracy for m in record.measurements}
        assert trial.value == record.val_accuracy


def test_workers_keep_their_shape_and_every_trial_gets_its_turn(tmp_path):
    plan = validate_plan({"budget": {"trials": 60}, "resources": {"resnet": {"cpus": 2}}}, "test")
    run = Run(tmp_path, plan, concurrency=4)
    engine = run.session()
    live: list[Family] = []
    order: list[int] = []
    handed, new_workers, most_waiting, freed = 0, 0, 0, None
    while True:
        while (assignment := engine.suggest()) is not None:
            family = Family(assignment.config.family)
            new_workers += freed is None or (family is Family.RESNET) != (freed is Family.RESNET)
            freed = None
            live.append(family)
            order.append(assignment.trial)
        assert sum(2 if family is Family.RESNET else 1 for family in live) <= 4
        most_waiting = max(most_waiting, len(engine.trials) - len(order))
        if not live:
            break
        freed = live.pop(0)
        fail(engine, order[handed])
        handed += 1
    assert sorted(order) == list(range(60))
    assert 0 < most_waiting <= MAX_WAITING
    assert new_workers <= 15


def test_concurrency_is_a_limit(tmp_path):
    engine = Run(tmp_path, make_plan(), concurrency=3).session()
    assert [engine.suggest() is None for _ in range(5)] == [False, False, False, True, True]
    assert not engine.is_exhausted


def test_a_failed_trial_is_recorded_with_its_reason(tmp_path):
    run = Run(tmp_path, make_plan())
    engine = run.session()
    assignment = engine.suggest()
    assert assignment is not None
    assert engine.report({"trial": assignment.trial, "failed": "the loss is not finite"}) is Verdict.END
    record = engine.trials[assignment.trial]
    assert (record.status, record.reason) == (Status.FAILED, "the loss is not finite")
    assert run.study()[assignment.trial].state is TrialState.FAIL


def test_a_repeated_report_counts_once(tmp_path):
    run = Run(tmp_path, make_plan())
    engine = run.session()
    assignment = engine.suggest()
    assert assignment is not None
    first = engine.report(report(assignment.trial, 1, 0.5))
    events = len(run.events)
    assert first is engine.report(report(assignment.trial, 1, 0.5)) is Verdict.GO_ON
    assert len(run.events) == events


def test_a_report_of_an_ended_trial_does_not_revive_it(tmp_path):
    run = Run(tmp_path, make_plan())
    engine = run.session()
    run_to_end(engine)
    events = len(run.events)
    stopped = next(record for record in engine.trials.values() if record.status is Status.STOPPED)
    assert engine.report(report(stopped.trial, stopped.fidelity, 0.5)) is Verdict.END
    assert len(run.events) == events


@settings(max_examples=25, deadline=None)
@given(kills=st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_a_search_killed_anywhere_ends_like_one_that_was_not(tmp_path_factory, kills):
    """Kills after any numbers of reports: no trial twice, no rung empty, no trial left running, the plan's total."""
    run = Run(tmp_path_factory.mktemp("run"), make_plan())
    for reports in kills:
        run_to_end(run.session(), reports)
    engine = run.session()
    run_to_end(engine)
    ends = [event.trial for event in run.events if isinstance(event, TrialEnd)]
    assert sorted(ends) == list(range(12))
    assert all(trial.state.is_finished() for trial in run.study())
    assert len(run.study()) == 12
    measured = [(e.trial, e.fidelity) for e in run.events if hasattr(e, "fidelity")]
    assert len(measured) == len(set(measured))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_journal_cut_at_any_line_can_be_resumed(tmp_path_factory, data):
    run = Run(tmp_path_factory.mktemp("run"), make_plan())
    run_to_end(run.session())
    del run.events[data.draw(st.integers(0, len(run.events))) :]
    before = {event.trial for event in run.events if isinstance(event, TrialEnd)}
    engine = run.session()
    run_to_end(engine)
    ends = [event.trial for event in run.events if isinstance(event, TrialEnd)]
    assert sorted(ends) == list(range(12))
    assert before <= set(ends)


def test_unfinished_trials_go_on_first_from_what_was_recorded(tmp_path):
    run = Run(tmp_path, make_plan())
    first = run.session()
    waiting = [first.suggest(), first.suggest()]
    first.report(report(0, 1, 0.9))
    again = run.session()
    resumed = [again.suggest(), again.suggest()]
    assert [(a.trial, a.config, a.seed) for a in resumed] == [(a.trial, a.config, a.seed) for a in waiting]
    assert [a.recorded for a in resumed] == [1, 0]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_journal_says_which_trials_were_drawn_and_a_resume_compares_them_as_before(tmp_path, sampler):
    points = [{"family": "svm", "C": 3.0}]
    run = Run(tmp_path, plan_of(sampler=sampler, points=points, budget={"trials": 60}), concurrency=1)
    first = run.session()
    run_to_end(first)
    drawn = {event.trial: event.is_drawn for event in run.events if isinstance(event, TrialStart)}
    begun = 1 + len(run.plan.known_configs())
    startup = range(begun, 1 + run.plan.startup_trials)
    assert not any(drawn[trial] for trial in range(begun)), "what is known is not drawn"
    assert len(startup) >= 1
    # Where all are drawn, none is: there is nobody else to keep them apart from.
    assert all(drawn[trial] is (sampler == "tpe") for trial in startup)
    later = [drawn[trial] for trial in drawn if trial > run.plan.startup_trials]
    assert 0.15 < statistics.fmean(later) < 0.5 if sampler == "tpe" else not any(later)
    rungs = first._scheduler.rungs
    assert {rung.is_drawn for rung in rungs} == ({False, True} if sampler == "tpe" else {False})
    assert run.session()._scheduler.rungs == rungs


def test_a_resumed_search_does_not_suggest_its_first_trials_again(tmp_path):
    run = Run(tmp_path, make_plan(trials=4))
    run_to_end(run.session())
    run.plan = make_plan(trials=8)
    run_to_end(run.session())
    configs = [str(record.config) for record in trials_of(run.events)]
    assert len(set(configs)) == 8


def test_stop_leaves_running_trials_unfinished(tmp_path):
    engine = Run(tmp_path, make_plan()).session()
    engine.suggest()
    engine.stop()
    assert engine.is_over
    assert engine.suggest() is None
    assert [record.status for record in engine.running] == [Status.RUNNING]


def test_one_seed_and_one_worker_give_the_same_search(tmp_path):
    configs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name, make_plan(), concurrency=1)
        run_to_end(run.session())
        configs.append([record.config for record in trials_of(run.events)])
    assert configs[0] == configs[1]


def test_a_worker_lost_with_its_node_does_not_count_against_its_trial(tmp_path):
    run = Run(tmp_path, make_plan(trials=2))
    engine = run.session()
    spared, blamed = (engine.suggest().trial for _ in range(2))
    for _ in range(MAX_LOST_WORKERS + 1):
        engine.lose_worker(spared, "its node died", with_node=True)
        engine.lose_worker(blamed, "out of memory")
        while engine.suggest() is not None:
            pass
    assert engine.trials[spared].status is Status.RUNNING
    assert engine.trials[blamed].status is Status.FAILED
    assert engine.trials[blamed].reason == "out of memory"


@pytest.mark.parametrize(("waited", "verdict"), [(0.0, Verdict.END), (1.5, Verdict.GO_ON)])
def test_rungs_in_seconds_do_not_count_the_wait_for_another_trial(tmp_path, waited, verdict):
    plan = plan_of(scheduler="asha", margin=0, rungs="seconds", first_seconds=1, space={"families": ["svm"]})
    engine = Run(tmp_path, plan, concurrency=4).session()
    numbers = [engine.suggest().trial for _ in range(4)]
    for number in numbers[:3]:
        engine.report(report(number, 1, 0.9))
    assert engine.report({**report(numbers[3], 1, 0.1), "cache_wait_seconds": waited}) is verdict


def suggest_all(engine: Engine) -> Counter[Family]:
    """Let all trials begin that may; how many of each family run then."""
    while engine.suggest() is not None:
        pass
    return Counter(record.family for record in engine.running)


def test_where_the_next_trial_of_one_kind_does_not_fit_the_other_kind_begins(tmp_path):
    resources = {"svm": {"cpus": 8}, "forest": {"cpus": 8}}
    plan = plan_of(resources=resources, budget={"trials": 60}, sampler="random", startup_trials=1)
    engine = Run(tmp_path, plan, concurrency=16, gpus=4).session()
    for _ in range(3):
        running = suggest_all(engine)
        assert (running[Family.RESNET], running.total()) == (4, 5)
        for record in engine.running:
            if record.family is Family.RESNET:
                engine.report({"trial": record.trial, "failed": "on purpose"})


def test_trials_of_the_busy_kind_that_wait_do_not_keep_gpus_idle(tmp_path):
    """A resume finds more unfinished svms than may wait, on a smaller machine; networks are asked for all the same."""
    plan = plan_of(budget={"trials": 80}, sampler="random", space={"families": ["svm", "resnet"]})
    run = Run(tmp_path, plan, concurrency=40, gpus=4)
    assert suggest_all(run.session()) == {Family.RESNET: 4, Family.SVM: 36}
    run.concurrency = 16
    engine = run.session()
    for _ in range(3):
        assert suggest_all(engine) == {Family.RESNET: 4, Family.SVM: 12}
        assert len(engine.trials) - 16 > MAX_WAITING
        for record in engine.running:
            if record.family is Family.RESNET:
                engine.report({"trial": record.trial, "failed": "on purpose"})


def test_none_of_the_idle_kind_is_begun_in_vain_for_a_free_worker_that_it_cannot_use(tmp_path):
    """A GPU comes, and then an svm frees its worker: a network that waited begins, and no more are asked for."""
    plan = plan_of(budget={"trials": 80}, sampler="random", space={"families": ["svm", "resnet"]})
    run = Run(tmp_path, plan, concurrency=4, gpus=1)
    room = run.room()
    room.update([{"CPU": 4, "GPU": 0}])
    engine = run.session_in(room)
    assert suggest_all(engine) == {Family.SVM: 4}
    networks = [number for number, record in engine.trials.items() if record.family is Family.RESNET]
    assert networks, "start-up trials of the family that waits for a GPU"
    room.update([{"CPU": 4, "GPU": 0}, {"CPU": 1, "GPU": 1}])
    fail(engine, engine.running[0].trial)
    assert suggest_all(engine) == {Family.SVM: 4, Family.RESNET: 1}
    assert networks == [number for number, record in engine.trials.items() if record.family is Family.RESNET]


def test_a_grid_that_has_no_more_of_the_idle_kind_goes_on_with_the_other(tmp_path):
    features = {"kind": "pixels", "contrast": "none", "pca": 0, "mirror": False, "flip": False}
    svm = {"kernel": "linear", "C": [float(k + 1) for k in range(40)], "class_weight": "none", "features": features}
    forest = {"depth": [4, 8], "min_samples_leaf": 1, "max_features": 0.1, "criterion": "gini", "trees": 10}
    space = {
        "families": ["svm", "forest"],
        "svm": svm,
        "forest": {**forest, "class_weight": "none", "features": features},
    }
    plan = plan_of(space=space, sampler="grid", resources={"forest": {"gpus": 1}}, budget={"trials": 100})
    engine = Run(tmp_path, plan, concurrency=4, gpus=1).session()
    seen = suggest_all(engine)
    while engine.running:
        fail(engine, engine.running[0].trial)
        seen |= suggest_all(engine)
        waiting = len(engine.trials) - engine.ended - len(engine.running)
        assert waiting <= MAX_WAITING
    assert len(engine.trials) == 42
    assert seen[Family.FOREST] == 1


def test_what_was_paused_at_the_end_of_a_session_uses_up_no_patience(tmp_path):
    plan = plan_of(promotion=True, margin=0, budget={"trials": 12, "patience": 8})
    run = Run(tmp_path, plan)
    engine = run.session()
    run_to_end(engine)
    waited = engine.waited
    engine.close()
    ends = [event for event in run.events if isinstance(event, TrialEnd)]
    assert any(end.reason == LEFT_PAUSED for end in ends)
    assert engine.waited == waited
    run.plan = plan.model_copy(update={"budget": plan.budget.model_copy(update={"trials": 24})})
    again = run.session()
    assert (again.waited, again.is_exhausted) == (waited, False)


def test_a_grid_that_is_at_its_end_takes_up_what_it_paused(tmp_path):
    features = {"kind": "pixels", "contrast": "none", "pca": 0, "mirror": False, "flip": False}
    svm = {"kernel": "linear", "C": [0.1, 1.0], "class_weight": "none", "features": features}
    space = {"families": ["svm"], "svm": svm}
    plan = plan_of(sampler="grid", promotion=True, margin=0, budget={"trials": 9}, space=space)
    engine = Run(tmp_path, plan, concurrency=1).session()
    run_to_end(engine)
    assert engine.incumbent is not None


def test_what_of_the_budget_is_used_up_is_known(tmp_path):
    engine = Run(tmp_path, make_plan(trials=3, target=0.01, cpu_seconds=1e6)).session()
    assert engine.limits_reached == []
    run_to_end(engine)
    assert engine.limits_reached == ["trials", "target"]


def test_where_means_ran_out_before_any_trial_was_complete_the_furthest_one_waits(tmp_path):
    plan = plan_of(promotion=True, margin=0, budget={"trials": 40, "cpu_seconds": 9}, space={"families": ["svm"]})
    run = Run(tmp_path, plan, concurrency=1)
    engine = run.session()
    while (handed := engine.suggest()) is not None:
        fidelity = plan.fidelity.next_rung(handed.recorded)
        engine.report({**report(handed.trial, fidelity, value_of(handed.trial)), "total_seconds": 2.0 * fidelity})
    engine.close()
    furthest = max(engine.trials.values(), key=lambda record: record.fidelity)
    assert furthest.fidelity > 1
    assert furthest.status is Status.RUNNING
