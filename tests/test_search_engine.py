"""The search without Ray: the engine is driven by hand, with a real study and real events."""

import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from results.leaderboard import trials_of
from results.schema import Event, SessionStart, Status, TrialEnd, TrialStart
from search.engine import MAX_WAITING, Engine, Verdict, searching_seconds
from search.plan import Plan, validate_plan
from search.room import Room
from search.searcher import Searcher
from spaces.family import Family
from spaces.svm import SvmConfig


def make_plan(**budget: Any) -> Plan:
    return plan_of(budget=budget or {"trials": 12})


def plan_of(**fields: Any) -> Plan:
    return validate_plan({"budget": {"trials": 12}, "startup_trials": 4, **fields}, "test")


class Run:
    """A run kept in memory: its events, and a study file."""

    def __init__(self, folder: Path, plan: Plan, concurrency: int = 2, gpus: int = 0) -> None:
        self.folder = folder
        self.gpus = gpus
        self.plan = plan
        self.concurrency = concurrency
        self.events: list[Event] = []

    def session(self) -> Engine:
        past = list(self.events)
        searcher = Searcher(self.study_file, self.plan, trials_of(past))
        engine = Engine(self.plan, searcher, past, self.events.append, self.room())
        engine.begin()
        return engine

    def room(self) -> Room:
        return Room(self.plan.resources, {"CPU": self.concurrency, "GPU": self.gpus}, self.plan.space.families)

    @property
    def study_file(self) -> Path:
        return self.folder / "study.journal"

    def study(self) -> list[optuna.trial.FrozenTrial]:
        storage = JournalStorage(JournalFileBackend(str(self.study_file)))
        return optuna.load_study(study_name=None, storage=storage).trials


def report(trial: int, fidelity: int, value: float) -> dict[str, Any]:
    return {
        "trial": trial,
        "fidelity": fidelity,
        "val_accuracy": value,
        "val_macro_f1": value,
        "val_log_loss": 1.0,
        "val_recall": [value] * 3,
        "fit_seconds": 1.0,
        "total_seconds": 2.0,
        "images_per_second": 3.0,
        "cache_hit": True,
        "checkpoint": f"checkpoints/{trial:05d}/{fidelity}",
        "training_iteration": 4,
    }


def start_and_fail(trial: int, at: float) -> list[Event]:
    config = SvmConfig(kernel="linear").model_dump(mode="json")
    return [
        TrialStart(trial=trial, time=at, family=Family.SVM, config=config, seed=0),
        TrialEnd(trial=trial, time=at, status=Status.FAILED, reason="test"),
    ]


def value_of(trial: int) -> float:
    return (trial * 37 % 101) / 101


def run_to_end(engine: Engine, steps: int = 10_000) -> int:
    """Run trials one rung at a time in turn, as two workers would; stops after `steps` reports."""
    live: dict[int, int] = {}
    while steps:
        while (assignment := engine.suggest()) is not None:
            live[assignment.trial] = assignment.recorded
        if not live:
            break
        trial = next(iter(live))
        fidelity = engine.plan.fidelity.next_rung(live.pop(trial))
        if engine.report(report(trial, fidelity, value_of(trial))) is Verdict.GO_ON:
            live[trial] = fidelity
        steps -= 1
    return steps


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


def test_start_up_trials_take_the_families_in_turn(tmp_path):
    engine = Run(tmp_path, make_plan()).session()
    run_to_end(engine)
    first = [engine.trials[number].family for number in range(4)]
    assert first == [Family.SVM, Family.FOREST, Family.RESNET, Family.SVM]


def test_points_are_tried_first_and_start_up_trials_follow(tmp_path):
    points = [{"family": "svm", "kernel": "linear", "C": 0.5}, {"family": "forest", "depth": 9}]
    run = Run(tmp_path, plan_of(points=points), concurrency=1)
    run_to_end(run.session(), 1)  # killed in between, so that the second is asked for by another session
    engine = run.session()
    run_to_end(engine)
    first, second = (engine.trials[number].config for number in (0, 1))
    assert (first["kernel"], first["C"], second["depth"]) == ("linear", 0.5, 9)
    families = [engine.trials[number].family for number in range(2, 6)]
    assert families == [Family.SVM, Family.FOREST, Family.RESNET, Family.SVM]
    assert run.study()[0].params["svm.C"] == 0.5
    assert len(run.study()) == 12


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
        engine.report({"trial": order[handed], "failed": "test"})
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


@pytest.mark.parametrize("strategy", [{}, {"rungs": "shared"}, {"scheduler": "median"}])
def test_replay_rebuilds_the_rungs(tmp_path, strategy):
    run = Run(tmp_path, plan_of(**strategy))
    first = run.session()
    run_to_end(first, 15)
    assert first._scheduler.rungs
    assert run.session()._scheduler.rungs == first._scheduler.rungs


def test_unfinished_trials_go_on_first_from_what_was_recorded(tmp_path):
    run = Run(tmp_path, make_plan())
    first = run.session()
    waiting = [first.suggest(), first.suggest()]
    first.report(report(0, 1, 0.9))
    again = run.session()
    resumed = [again.suggest(), again.suggest()]
    assert [(a.trial, a.config, a.seed) for a in resumed] == [(a.trial, a.config, a.seed) for a in waiting]
    assert [a.recorded for a in resumed] == [1, 0]


def test_a_larger_budget_continues_a_finished_run(tmp_path):
    run = Run(tmp_path, make_plan(trials=4))
    run_to_end(run.session())
    run.plan = make_plan(trials=6)
    run_to_end(run.session())
    assert len(trials_of(run.events)) == 6


def test_a_resumed_search_does_not_suggest_its_first_trials_again(tmp_path):
    run = Run(tmp_path, make_plan(trials=4))
    run_to_end(run.session())
    run.plan = make_plan(trials=8)
    run_to_end(run.session())
    configs = [str(record.config) for record in trials_of(run.events)]
    assert len(set(configs)) == 8


def test_the_time_budget_counts_earlier_sessions(tmp_path):
    run = Run(tmp_path, make_plan(minutes=1))
    assert not run.session().is_over
    long_ago = time.time() - 1000
    run.events = [SessionStart(time=long_ago), *start_and_fail(0, long_ago + 59)]
    assert not run.session().is_over
    run.events = [SessionStart(time=long_ago), *start_and_fail(0, long_ago + 61)]
    engine = run.session()
    assert engine.is_over
    assert engine.suggest() is None


def test_interruptions_do_not_count_as_searching():
    events = [SessionStart(time=10.0), *start_and_fail(0, 14.0), SessionStart(time=100.0), *start_and_fail(1, 107.0)]
    assert searching_seconds(events) == 11.0
    assert searching_seconds([]) == 0.0


def test_patience_ends_a_search_and_counts_earlier_sessions(tmp_path):
    run = Run(tmp_path, make_plan(patience=5), concurrency=1)
    run_to_end(run.session(), 3)
    engine = run.session()
    run_to_end(engine)
    assert engine.is_exhausted
    assert engine.waited == 5
    assert engine.incumbent is not None
    ended = [event.trial for event in run.events if isinstance(event, TrialEnd)]
    assert ended.index(engine.incumbent.trial) == len(ended) - 6
    assert run.session().waited == 5


def test_patience_counts_trials_that_all_fail(tmp_path):
    engine = Run(tmp_path, make_plan(patience=3), concurrency=1).session()
    while (assignment := engine.suggest()) is not None:
        engine.report({"trial": assignment.trial, "failed": "test"})
    assert len(engine.trials) == 3


def test_spend_counts_stopped_and_failed_trials_and_earlier_sessions(tmp_path):
    resources = {"forest": {"cpus": 2}, "resnet": {"cpus": 1, "gpus": 0.5}}
    plan = plan_of(budget={"trials": 100, "cpu_seconds": 20}, resources=resources)
    run = Run(tmp_path, plan, concurrency=6, gpus=1)
    engine = run.session()
    families = [engine.trials[engine.suggest().trial].family for _ in range(3)]
    assert families == [Family.SVM, Family.FOREST, Family.RESNET]
    engine.report({**report(0, 1, 0.5), "total_seconds": 4.0})
    engine.report({**report(1, 1, 0.5), "total_seconds": 3.0})
    engine.report({"trial": 1, "failed": "test"})
    engine.report({**report(2, 1, 0.5), "total_seconds": 8.0})
    assert engine.spend == (4 + 2 * 3 + 8, 4)
    assert not engine.is_over
    engine.report({**report(0, 3, 0.5), "total_seconds": 6.0})
    assert engine.spend == (20, 4)
    assert engine.is_over
    again = run.session()
    assert again.is_over
    assert again.suggest() is None
    run.plan = plan_of(budget={"trials": 100, "cpu_seconds": 90, "gpu_seconds": 4}, resources=resources)
    assert run.session().is_over
    run.plan = plan_of(budget={"trials": 100, "cpu_seconds": 90, "gpu_seconds": 5}, resources=resources)
    assert not run.session().is_over


def test_the_target_ends_a_search(tmp_path):
    engine = Run(tmp_path, make_plan(trials=100, target=0.5)).session()
    run_to_end(engine)
    assert engine.is_over
    assert engine.incumbent is not None
    assert engine.incumbent.val_accuracy >= 0.5
    assert len(engine.trials) < 100


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


def test_seconds_after_the_last_report_count(tmp_path):
    run = Run(tmp_path, make_plan())
    engine = run.session()
    engine.suggest()
    time.sleep(0.2)
    engine.close()
    assert searching_seconds(run.events) >= 0.2
