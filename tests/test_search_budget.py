"""When a search ends, and what it counts towards that."""

import io
import math
import time

import pytest
from engine_run import Run, fail, make_plan, plan_of, report, run_to_end
from rich.console import Console

from results.leaderboard import trials_of
from results.schema import Event, SessionStart, Status, TrialEnd, TrialStart
from search.budget import Spend
from search.limits import MOST_FAILURES, searching_seconds
from search.lineup import MAX_WAITING
from search.progress import Progress
from search.scheduler import Verdict
from search.simulation import simulate
from spaces.errors import InputError
from spaces.family import Family
from spaces.svm import SvmConfig
from trainables.synthetic import SyntheticCurves


def start_and_fail(trial: int, at: float) -> list[Event]:
    config = SvmConfig(kernel="linear").model_dump(mode="json")
    return [
        TrialStart(trial=trial, time=at, family=Family.SVM, config=config, seed=0),
        TrialEnd(trial=trial, time=at, status=Status.FAILED, reason="test"),
    ]


def test_a_larger_budget_continues_a_finished_run(tmp_path):
    run = Run(tmp_path, make_plan(trials=4))
    run_to_end(run.session())
    run.plan = make_plan(trials=6)
    run_to_end(run.session())
    assert len(trials_of(run.events)) == 6


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


def test_means_last_as_long_as_what_fits_at_once_takes_them(tmp_path):
    def seconds(space: list[str], resources: dict[str, dict[str, int]], **budget: float) -> float:
        plan = plan_of(space={"families": space}, resources=resources, budget={"trials": 9, **budget})
        return Run(tmp_path, plan, concurrency=64, gpus=2).session()._limits.seconds_to_go

    assert seconds(["resnet"], {"resnet": {"cpus": 1, "gpus": 1}}, cpu_seconds=6400) == 3200
    assert seconds(["svm"], {"svm": {"cpus": 4}}, cpu_seconds=6400) == 100
    assert seconds(["svm"], {}, cost=64, cpu_price=1, gpu_price=1) == 1
    assert seconds(["svm", "resnet"], {}, cost=66, cpu_price=1, gpu_price=1) == 1
    assert seconds(["svm"], {}, gpu_seconds=5) == math.inf


def test_a_network_that_begins_between_failures_keeps_a_search_alive(tmp_path):
    engine = Run(tmp_path, plan_of(space={"families": ["svm", "resnet"]}, budget={"trials": 99}), gpus=1).session()
    trials = {trial.config.family: trial.trial for trial in (engine.suggest(), engine.suggest())}
    fail(engine, trials["resnet"])
    engine.report({"trial": trials["svm"], "failed": "no such file"})
    network = None
    for _ in range(2 * MOST_FAILURES):
        trial = engine.suggest()
        if trial.config.family == "resnet":
            network = trial
            continue
        engine.report({"trial": trial.trial, "failed": "no such file"})
        assert not engine.has_given_up
    assert network is not None


def test_trials_of_one_family_that_fail_do_not_end_a_search_while_another_trains(tmp_path):
    engine = Run(tmp_path, plan_of(space={"families": ["svm", "resnet"]}, budget={"trials": 99}), gpus=1).session()
    (network,) = [trial for trial in (engine.suggest(), engine.suggest()) if trial.config.family == "resnet"]
    for _ in range(2 * MOST_FAILURES):
        for record in engine.running:
            if record.family is Family.SVM:
                engine.report({"trial": record.trial, "failed": "no such file"})
        assert not engine.has_given_up
        assert engine.suggest().config.family == "svm"
    engine.report({"trial": network.trial, "failed": "no such file"})
    for _ in range(MAX_WAITING + 2):  # networks that waited for the GPU are tried yet
        engine.suggest()
        if engine.running:
            engine.report({"trial": engine.running[0].trial, "failed": "no such file"})
    assert engine.has_given_up


def test_a_search_in_which_trial_after_trial_fails_ends_and_can_be_resumed(tmp_path):
    run = Run(tmp_path, make_plan(trials=60), concurrency=1)
    engine = run.session()

    def fail_next(times: int) -> None:
        for _ in range(times):
            assert not engine.has_given_up
            engine.report({"trial": engine.suggest().trial, "failed": "no such file"})

    fail_next(MOST_FAILURES - 1)
    fail(engine, engine.suggest().trial)  # it measured something before
    fail_next(MOST_FAILURES - 1)
    assert engine.has_given_up
    assert engine.is_over
    assert engine.suggest() is None
    engine.close()
    again = run.session()
    assert not again.has_given_up
    run_to_end(again)
    assert again.incumbent is not None


def test_spend_counts_what_was_made_before_the_trials(tmp_path):
    run = Run(tmp_path, plan_of(budget={"trials": 100, "cpu_seconds": 20}))
    engine = run.session()
    engine.note_preparation(Spend(15.0, 2.0))
    assert (engine.spend, engine.is_over) == ((15.0, 2.0), False)
    number = engine.suggest().trial
    engine.report({**report(number, 1, 0.5), "total_seconds": 5.0})
    assert (engine.spend, engine.is_over) == ((20.0, 2.0), True)
    assert run.session().spend == (20.0, 2.0)


def test_what_was_spent_on_other_hardware_stays_what_it_was(tmp_path):
    resources = {"svm": {"cpus": 1}}
    run = Run(tmp_path, plan_of(space={"families": ["svm"]}, resources=resources))
    engine = run.session()
    number = engine.suggest().trial
    engine.report({**report(number, 1, 0.5), "total_seconds": 4.0})
    run.plan = plan_of(space={"families": ["svm"]}, resources={"svm": {"cpus": 2}})
    engine = run.session()
    assert engine.spend == (4.0, 0.0)
    assert engine.suggest().trial == number
    engine.report({**report(number, 3, 0.5), "total_seconds": 7.0})
    assert engine.spend == (4.0 + 2 * 3.0, 0.0)


def test_spend_counts_stopped_and_failed_trials_and_earlier_sessions(tmp_path):
    resources = {"forest": {"cpus": 2}, "resnet": {"cpus": 1, "gpus": 0.5}}
    plan = plan_of(budget={"trials": 100, "cpu_seconds": 20}, resources=resources, known_points=False)
    run = Run(tmp_path, plan, concurrency=6, gpus=1)
    engine = run.session()
    assert {engine.suggest().trial for _ in range(3)} == {0, 1, 2}
    assert [engine.trials[number].family for number in range(3)] == [Family.SVM, Family.FOREST, Family.RESNET]
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


@pytest.mark.parametrize(("target", "is_met"), [(20.0, True), (5.0, False)])
def test_the_target_is_of_the_first_objective(tmp_path, target, is_met):
    plan = plan_of(objectives=["latency_ms", "val_accuracy"], budget={"trials": 9, "target": target})
    engine = Run(tmp_path, plan, concurrency=1).session()
    number = engine.suggest().trial
    for fidelity in (1, 3, 9, 27):
        assert not engine.is_over
        engine.report({**report(number, fidelity, 0.9), "latency_ms": 10.0, "model_mb": 1.0})
    assert engine.is_over is is_met


@pytest.mark.parametrize(
    ("limit", "goes_on"), [({}, True), ({"cpu_seconds": 60}, False), ({"cpu_seconds": 6000}, True)]
)
def test_where_few_means_are_left_a_margin_is_learned_from_cheap_trials_alone(tmp_path, limit, goes_on):
    space = {"families": ["svm"]}
    engine = Run(tmp_path, plan_of(space=space, budget={"trials": 100, **limit}), concurrency=1).session()
    for value in (0.7, 0.4):
        number = engine.suggest().trial
        verdict = engine.report({**report(number, 1, value), "total_seconds": 20.0})
        engine.end(number, Status.STOPPED)
    assert (verdict is Verdict.GO_ON) is goes_on


def test_seconds_after_the_last_report_count(tmp_path):
    run = Run(tmp_path, make_plan())
    engine = run.session()
    engine.suggest()
    time.sleep(0.2)
    engine.close()
    assert searching_seconds(run.events) >= 0.2


def test_progress_tells_spend_and_patience_where_they_are_limited(tmp_path):
    plan = make_plan(trials=12, patience=9, cpu_seconds=1000)
    engine = Run(tmp_path, plan, concurrency=1).session()
    run_to_end(engine, 3)
    console = Console(file=io.StringIO(), width=100)
    console.print(Progress(engine, console).view())
    text = console.file.getvalue()
    assert f"{engine.spend.cpu_seconds:.0f} of 1000 CPU-seconds" in text
    assert f"{engine.waited} of 9 without a better one" in text


def test_prices_make_a_budget_of_cost(tmp_path):
    budget = {"trials": 100, "cpu_price": 0.5, "gpu_price": 4, "cost": 30}
    plan = plan_of(budget=budget, resources={"svm": {"cpus": 2}}, space={"families": ["svm"]})
    engine = Run(tmp_path, plan, concurrency=1 + 1).session()
    number = engine.suggest().trial
    engine.report({**report(number, 1, 0.5), "total_seconds": 29.0})
    assert engine.spend.cost(plan.budget) == 29.0
    assert not engine.is_over
    engine.report({**report(number, 3, 0.5), "total_seconds": 31.0})
    assert engine.is_over
    assert engine.spend.describe(plan.budget) == "62 CPU-seconds, cost 31.00 of 30"


def test_a_cost_needs_a_price():
    with pytest.raises(InputError, match="cost is 3, but nothing has a price"):
        make_plan(trials=5, cost=3)


@pytest.mark.parametrize("budget", [{"cpu_seconds": 900}, {"cost": 9, "cpu_price": 0.01}, {"minutes": 15}])
def test_promotion_leaves_a_model_whatever_the_budget_is_of(budget):
    """Once half of it is gone the best of the paused trials go on however few there are."""
    plan = plan_of(promotion=True, margin=0, budget={"trials": 1000, **budget})
    curves = SyntheticCurves(plan.fidelity)
    seconds = (20.0, 40.0, 60.0, 80.0)

    def curve_of(config):
        return curves.curve(config).model_copy(update={"seconds": seconds})

    records = trials_of(simulate(plan, curve_of, {"CPU": 1.0}))
    assert any(record.status is Status.FINISHED for record in records)
