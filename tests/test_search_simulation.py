"""Whole searches on learning curves instead of trainings."""

import time
from itertools import accumulate

import pytest

import search.promotion as promotion_module
from results.leaderboard import incumbent, trials_of
from results.schema import Event, Measurement, SessionEnd, Status, TrialEnd, TrialStart
from search.plan import Plan, validate_plan
from search.promotion import MOST_WAITING
from search.simulation import simulate
from search.warm_start import EarlierTrial
from spaces.errors import InputError
from spaces.family import Family
from spaces.svm import SvmConfig
from spaces.tree import RandomDraw
from trainables.curves import CurveTable, LearningCurve, read_curves, write_curve
from trainables.synthetic import SyntheticCurves

CPUS = {"CPU": 2.0}


def plan_of(**fields: object) -> Plan:
    return validate_plan({"budget": {"trials": 30}, **fields}, "test")


def drawn(plan: Plan, count: int) -> list[LearningCurve]:
    import random

    curves = SyntheticCurves(plan.fidelity)
    return [curves.curve(plan.space.suggest(RandomDraw(random.Random(number)))) for number in range(count)]


@pytest.mark.parametrize(
    "strategy",
    [
        {"sampler": "random"},
        {"sampler": "random", "promotion": True},
        {"sampler": "random", "scheduler": "hyperband"},
        {"sampler": "random", "rungs": "seconds"},
        pytest.param({"sampler": "random", "scheduler": "median"}, marks=pytest.mark.slow),
        pytest.param({"sampler": "random", "scheduler": "none"}, marks=pytest.mark.slow),
        pytest.param({"sampler": "tpe"}, marks=pytest.mark.slow),
    ],
)
def test_a_thousand_trials_take_seconds(strategy):
    plan = plan_of(budget={"trials": 1000}, **strategy)
    began = time.process_time()
    records = trials_of(simulate(plan, SyntheticCurves(plan.fidelity).curve, CPUS))
    assert time.process_time() - began < (30 if strategy["sampler"] == "random" else 120)
    assert len(records) == 1000
    stopped = set() if strategy.get("scheduler") == "none" else {Status.STOPPED}
    assert {record.status for record in records} == {Status.FINISHED} | stopped


@pytest.mark.slow
def test_cma_es_takes_stopped_trials_that_lack_what_all_finished_ones_have():
    plan = plan_of(sampler="cmaes", budget={"trials": 300})
    records = trials_of(simulate(plan, SyntheticCurves(plan.fidelity).curve, CPUS))
    assert len(records) == 300
    assert {record.status for record in records} == {Status.FINISHED, Status.STOPPED}


def test_simulated_seconds_are_those_of_the_curves_shared_by_the_workers():
    plan = plan_of(sampler="random", scheduler="none", budget={"trials": 7})
    curves = SyntheticCurves(plan.fidelity)
    alone, shared = (simulate(plan, curves.curve, {"CPU": cpus}) for cpus in (1.0, 2.0))
    spent = sum(record.seconds for record in trials_of(alone))
    assert alone[-1].time == pytest.approx(spent)
    assert spent / 2 <= shared[-1].time < spent
    assert isinstance(shared[-1], SessionEnd)


def test_minutes_are_those_of_the_simulated_clock():
    plan = plan_of(sampler="random", budget={"minutes": 5})
    events = simulate(plan, SyntheticCurves(plan.fidelity).curve, CPUS)
    assert 300 <= events[-1].time < 400
    assert any(record.status is Status.RUNNING for record in trials_of(events))


def test_a_simulated_search_learns_from_an_earlier_one():
    curves = SyntheticCurves(plan_of().fidelity)
    before = trials_of(simulate(plan_of(sampler="random", budget={"trials": 60}), curves.curve, CPUS))
    best = incumbent(before)
    earlier = [
        EarlierTrial(
            config=dict(record.config),
            status=record.status,
            reports={each.fidelity: each.val_accuracy for each in record.measurements},
            is_point=record is best,
        )
        for record in before
    ]
    after = trials_of(simulate(plan_of(budget={"trials": 12}), curves.curve, CPUS, earlier=earlier))
    assert after[0].config == best.config
    assert incumbent(after).val_accuracy >= best.val_accuracy
    alone = trials_of(simulate(plan_of(budget={"trials": 12}), curves.curve, CPUS))
    assert incumbent(after).val_accuracy > incumbent(alone).val_accuracy


def most_unended(events: list[Event]) -> int:
    """The most trials that had begun and not ended at any time."""
    change = {TrialStart: 1, TrialEnd: -1}
    return max(accumulate(change.get(type(event), 0) for event in events))


def test_paused_trials_are_bounded_and_the_same_model_is_found(monkeypatch):
    found = {}
    for bound in (MOST_WAITING, 10**6):
        monkeypatch.setattr(promotion_module, "MOST_WAITING", bound)
        families = {"families": ["svm"]}
        plan = plan_of(sampler="random", promotion=True, margin=0, budget={"trials": 300}, space=families)
        events = simulate(plan, SyntheticCurves(plan.fidelity).curve, CPUS)
        finished = {record.trial for record in trials_of(events) if record.status is Status.FINISHED}
        found[bound] = most_unended(events), incumbent(trials_of(events)).trial, finished
    (most, *mine), (all_of_them, *other) = found.values()
    rungs, workers = 3, 2
    assert most <= rungs * MOST_WAITING + 2 * workers
    assert all_of_them > 200
    assert mine == other


def test_when_the_minutes_are_over_paused_trials_are_stopped():
    plan = plan_of(sampler="random", promotion=True, margin=0, budget={"minutes": 5})
    events = simulate(plan, SyntheticCurves(plan.fidelity).curve, CPUS)
    running = [record.trial for record in trials_of(events) if record.status is Status.RUNNING]
    assert 0 < len(running) <= 2  # one for each worker
    last = max(event.time for event in events if isinstance(event, Measurement))
    assert sum(isinstance(event, TrialEnd) and event.time > last for event in events) > 2


def test_a_simulation_can_be_repeated_to_the_last_digit():
    plan = plan_of()
    curves = SyntheticCurves(plan.fidelity)
    assert simulate(plan, curves.curve, CPUS) == simulate(plan, curves.curve, CPUS)


def test_tpe_finds_better_trials_than_random_suggestions():
    found = {"tpe": 0.0, "random": 0.0}
    for landscape in range(5):
        for sampler in found:
            plan = plan_of(sampler=sampler, seed=landscape, budget={"trials": 80})
            curves = SyntheticCurves(plan.fidelity, landscape)
            found[sampler] += incumbent(trials_of(simulate(plan, curves.curve, CPUS))).val_accuracy / 5
    assert found["tpe"] > found["random"] + 0.005


def test_a_table_gives_recorded_configs_their_own_curves_and_others_their_likes():
    plan = plan_of()
    curves = drawn(plan, 150)
    table = CurveTable(curves)
    own = sum(table.curve(curve.config) == curve for curve in curves)
    assert own >= 130  # two that share a leaf in every tree are one to the table
    landscape, errors, spread = SyntheticCurves(plan.fidelity), [], []
    mean = sum(curve.val_accuracy[-1] for curve in curves) / len(curves)
    for curve in drawn(plan, 250)[150:]:
        looked_up = table.curve(curve.config)
        assert looked_up in curves
        assert looked_up.config.family == curve.config.family
        errors.append(abs(looked_up.val_accuracy[-1] - landscape.curve(curve.config).val_accuracy[-1]))
        spread.append(abs(mean - curve.val_accuracy[-1]))
    assert sum(errors) < 0.8 * sum(spread)


def test_a_family_without_curves_is_told():
    table = CurveTable([curve for curve in drawn(plan_of(), 40) if curve.config.family == Family.FOREST])
    with pytest.raises(InputError, match="no learning curve of the family svm"):
        table.curve(SvmConfig())


def test_curves_survive_their_file(tmp_path):
    curves, path = drawn(plan_of(), 5), tmp_path / "curves.jsonl"
    for curve in curves:
        write_curve(curve, path)
    assert read_curves(path) == curves


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no learning curves here"),
        ("{}\n", "line 1: config: Field required"),
        ("nonsense\n", "line 1: line: Invalid JSON"),
    ],
)
def test_a_file_without_curves_is_told(tmp_path, text, sentence):
    path = tmp_path / "curves.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_curves(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_curves(tmp_path / "none")
