"""Samplers, objectives and earlier runs: what the searcher suggests and what its study is told."""

import math
import statistics
from functools import partial

import pytest
from engine_run import Run, fail, plan_of, report, run_to_end
from optuna.trial import TrialState

from results.leaderboard import trials_of
from results.schema import Status
from search.plan import Plan
from search.proposals import FamilyStudies, cmaes, gp
from search.searcher import Searcher
from search.simulation import simulate
from search.warm_start import EarlierTrial
from spaces.errors import InputError
from spaces.family import Family
from spaces.grid import grid_of
from spaces.joint import JointSpace
from spaces.svm import SvmConfig
from trainables.synthetic import SyntheticCurves

LISTED = {
    "families": ["svm", "forest"],
    "svm": {
        "kernel": ["linear", "rbf"],
        "C": [1.0, 10.0],
        "gamma": [0.5, 1.0, 2.0],
        "class_weight": "balanced",
        "features": {"kind": "pixels", "contrast": "none", "pca": 0, "mirror": False, "flip": False},
    },
    "forest": {
        "depth": [4, 8],
        "min_samples_leaf": 1,
        "max_features": 0.1,
        "criterion": "gini",
        "class_weight": "balanced",
        "features": {"kind": "pixels", "contrast": "none", "pca": 0, "mirror": False, "flip": False},
    },
}


def simulated(plan: Plan) -> list[dict[str, object]]:
    events = simulate(plan, SyntheticCurves(plan.fidelity).curve, {"CPU": 1.0})
    return [record.config for record in trials_of(events)]


@pytest.mark.parametrize("sampler", [pytest.param("gp", marks=pytest.mark.slow), "cmaes"])
def test_each_family_has_a_study_and_one_worker_repeats_itself(sampler):
    plan = plan_of(sampler=sampler, scheduler="none", startup_trials=6, budget={"trials": 24})
    configs = simulated(plan)
    assert simulated(plan) == configs
    assert {config["family"] for config in configs} == set(Family)
    assert len({str(config) for config in configs}) == 24


def test_the_gaussian_process_models_a_family_once_its_share_of_start_up_trials_has_finished():
    def proposed(sign: int) -> list[dict[str, object]]:
        space = JointSpace()  # three families: of ten start-up trials four are a family's share
        studies = FamilyStudies(space, partial(gp, space, 10), seed=0, startup_trials=10)
        found = []
        for number in range(6):
            found.append(studies.propose(number, [Family.SVM]))
            studies.tell(number, TrialState.COMPLETE, {27: 0.5 + sign * number / 100})
        return found

    rising, falling = proposed(1), proposed(-1)
    assert rising[:4] == falling[:4]
    assert rising[4:] != falling[4:]


@pytest.mark.slow
def test_the_gaussian_process_finds_better_trials_than_random_suggestions():
    def found(sampler: str, seed: int) -> float:
        plan = plan_of(
            sampler=sampler,
            seed=seed,
            scheduler="none",
            startup_trials=4,
            known_points=False,  # random search would have none of them
            budget={"trials": 32},
            space={"families": ["svm"]},
        )
        curves = SyntheticCurves(plan.fidelity, seed)
        records = trials_of(simulate(plan, curves.curve, {"CPU": 1.0}))
        return statistics.fmean(record.measurements[-1].val_accuracy for record in records[16:])

    # Two such means of random search differ by 0.003 to 0.008 on one set of curves, the model's gain is 0.02.
    assert statistics.fmean(found("gp", seed) - found("random", seed) for seed in range(4)) > 0.01


CENTRE = 3.0  # about the middle of the default range of C, 0.03 to 100, by its logarithm


@pytest.mark.parametrize("end", ["ended", "paused", "paused again and again", "paused after a replay"])
def test_cma_es_goes_on_from_trials_that_it_did_not_suggest_itself(end):
    """Those of an earlier session, of a warm start and points; and those that wait at a rung, perhaps for good."""

    def proposed(sign: int) -> float:
        space = JointSpace()
        first, again = (FamilyStudies(space, partial(cmaes, space), seed, startup_trials=1) for seed in (0, 1))
        values_of: dict[int, float] = {}
        for number in range(40):
            values = first.propose(number, [Family.SVM])
            value = sign * math.log(values["svm.C"])
            first.tell(number, TrialState.COMPLETE, {27: value})
            again.add(number, values)
            values_of[number] = value
            if end == "ended":
                again.tell(number, TrialState.COMPLETE, {27: value})
            elif end != "paused after a replay":
                again.pause(number, {1: value})
            if end == "paused again and again":
                again.pause(number, {1: value, 3: value})
                again.tell(number, TrialState.COMPLETE, {1: value, 3: value, 27: value})
        if end == "paused after a replay":
            for number, value in values_of.items():
                again.pause(number, {1: value})
        return statistics.fmean(math.log(again.propose(100 + n, [Family.SVM])["svm.C"]) for n in range(6))

    assert proposed(1) > math.log(CENTRE) + 1
    assert proposed(-1) < math.log(CENTRE) - 1


def test_a_paused_trial_that_is_passed_over_is_learned_from_once():
    space = JointSpace()
    studies = FamilyStudies(space, partial(cmaes, space), seed=0, startup_trials=1)
    for number in range(3):
        studies.propose(number, [Family.SVM])
        studies.pause(number, {1: 0.5})
        studies.tell(number, TrialState.PRUNED, {1: 0.5})
    assert [trial.state for trial in studies._studies[Family.SVM].trials] == [TrialState.PRUNED] * 3
    assert [trial.state for trial in studies._allocator.trials] == [TrialState.PRUNED] * 3


@pytest.mark.parametrize("sampler", ["cmaes", "random"])
def test_with_promotion_a_search_by_family_studies_ends_as_any(sampler):
    plan = plan_of(sampler=sampler, promotion=True, budget={"trials": 60})
    records = trials_of(simulate(plan, SyntheticCurves(plan.fidelity).curve, {"CPU": 2.0}))
    assert len(records) == 60
    assert {record.status for record in records} == {Status.FINISHED, Status.STOPPED}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
def test_a_killed_search_goes_on_whatever_the_sampler(tmp_path, sampler):
    plan = plan_of(sampler=sampler, points=[{"family": "svm", "kernel": "linear"}], budget={"trials": 10})
    run = Run(tmp_path, plan, concurrency=1)
    for reports in (2, 4):
        run_to_end(run.session(), reports)
    engine = run.session()
    run_to_end(engine)
    assert len(engine.trials) == 10 == len(run.study())
    assert engine.trials[0].config["kernel"] == "linear"
    assert all(trial.state.is_finished() for trial in run.study())


def test_a_grid_takes_every_turn_of_the_tree_once():
    grid = grid_of(JointSpace.model_validate(LISTED))
    assert len(grid) == 2 + 2 * 3 + 2
    assert len({str(sorted(values.items())) for values in grid}) == len(grid)


def test_a_grid_search_ends_with_its_last_config(tmp_path):
    run = Run(tmp_path, plan_of(sampler="grid", space=LISTED, budget={"trials": 1000}), concurrency=2)
    run_to_end(run.session(), 9)
    engine = run.session()
    run_to_end(engine)
    assert engine.is_exhausted
    assert len({str(record.config) for record in engine.trials.values()}) == 10 == len(engine.trials)


FEATURES = LISTED["svm"]["features"] | {"kind": "hog", "hog_cell": [6, 8, 12], "hog_signed": [False, True]}
FOREST = {"trees": [30, 60], "depth": 10, "min_samples_leaf": 4, "max_features": 0.1, "criterion": "gini"}
SHARING = {
    "families": ["svm", "forest"],
    "svm": {"kernel": "linear", "C": [0.1, 1.0, 10.0], "class_weight": "none", "features": FEATURES},
    "forest": FOREST | {"class_weight": "none", "features": FEATURES},
}


def tried(strategy: dict[str, object]) -> list[dict[str, object]]:
    searcher = Searcher(None, plan_of(sampler="grid", space=SHARING, **strategy))
    return [config.model_dump() for _, config, _ in iter(searcher.ask, None)]


def test_a_grid_that_is_tried_as_a_whole_keeps_configs_that_share_work_together():
    """Six features with five configs each; four features take turns."""
    together = tried({"scheduler": "none", "budget": {"trials": 60}})
    features = [str(config["features"]) for config in together]
    spans = [len(features) - features[::-1].index(each) - features.index(each) for each in set(features)]
    assert len(spans) == 6
    assert max(spans) <= 4 * 4 + 1
    assert len(set(features[:4])) == 4  # four workers need not wait for each other
    at_random = tried({"scheduler": "asha", "budget": {"trials": 60}})
    assert sorted(map(str, together)) == sorted(map(str, at_random))


@pytest.mark.parametrize(
    "strategy",
    [
        {"scheduler": "median", "budget": {"trials": 60}},
        {"scheduler": "none", "budget": {"trials": 60, "minutes": 9}},
        {"scheduler": "none", "budget": {"trials": 29}},
    ],
)
def test_a_grid_that_may_end_early_is_a_fair_sample(strategy):
    assert tried(strategy) == tried({"scheduler": "asha", "budget": {"trials": 60}})


def test_a_grid_needs_listed_values():
    named = r"given for space.svm.C \(0.03 to 100\), .*space.forest.depth .*; list those .* space.svm.C: \[0.03, 100\]"
    with pytest.raises(InputError, match=named):
        plan_of(sampler="grid")


@pytest.mark.parametrize("fields", [{"objectives": ["val_accuracy", "latency_ms"]}, {"constraints": ["model_mb <= 3"]}])
def test_gp_and_cmaes_say_what_they_cannot(fields):
    with pytest.raises(InputError, match="sampler gp: takes one objective and no constraints"):
        plan_of(sampler="gp", **fields)


def footprint(trial: int, fidelity: int, accuracy: float, latency: float) -> dict[str, object]:
    return {**report(trial, fidelity, accuracy), "latency_ms": latency, "model_mb": 1.0}


def test_with_several_objectives_stopped_trials_are_pruned_without_a_value(tmp_path):
    plan = plan_of(objectives=["val_macro_f1", "latency_ms"], margin=0, known_points=False)
    run = Run(tmp_path, plan, concurrency=1)
    engine = run.session()
    engine.suggest()
    for fidelity in (1, 3, 9, 27):
        engine.report(footprint(0, fidelity, 0.6, 5.0))
    while (assignment := engine.suggest()).config.family != "svm":
        engine.report({"trial": assignment.trial, "failed": "test"})
    engine.report(footprint(assignment.trial, 1, 0.5, 2.0))
    for study in (run.study(), _restudied(run)):
        first, last = study[0], study[assignment.trial]
        assert (first.state, first.values) == (TrialState.COMPLETE, [0.6, 5.0])
        assert (last.state, last.values) == (TrialState.PRUNED, None)
        assert last.user_attrs["measured"] == [1, 0.5, 2.0]
        assert not last.intermediate_values


def _restudied(run: Run):
    run.session()
    return run.study()


def test_a_trial_that_breaks_a_constraint_is_no_incumbent_and_tpe_hears_of_it(tmp_path):
    run = Run(tmp_path, plan_of(constraints=["latency_ms <= 20"], scheduler="none"), concurrency=1)
    engine = run.session()
    for trial, (accuracy, latency) in enumerate([(0.6, 10.0), (0.9, 30.0), (0.7, 20.0)]):
        assert engine.suggest().trial == trial
        for fidelity in (1, 3, 9, 27):
            engine.report(footprint(trial, fidelity, accuracy, latency))
    assert engine.incumbent.trial == 2
    for study in (run.study(), _restudied(run)):
        assert [list(trial.constraints.values()) for trial in study] == [[-10.0], [10.0], [0.0]]


def test_tpe_avoids_what_breaks_a_constraint():
    def share_within(constraints: list[str]) -> float:
        plan = plan_of(constraints=constraints, scheduler="none", startup_trials=15, budget={"trials": 60})
        curves = SyntheticCurves(plan.fidelity)
        records = trials_of(simulate(plan, curves.curve, {"CPU": 1.0}))[30:]
        return sum(record.measurements[-1].latency_ms <= 12 for record in records) / len(records)

    assert share_within(["latency_ms <= 12"]) > share_within([]) + 0.1


def earlier(kernel: str, value: float, *, is_point: bool = False) -> EarlierTrial:
    config = SvmConfig(kernel=kernel, features={"kind": "pixels"}).model_dump(mode="json")
    return EarlierTrial(config=config, status=Status.STOPPED, reports={0: value}, is_point=is_point)


def test_earlier_trials_stand_at_the_head_of_the_study_and_the_best_is_tried_first(tmp_path):
    known = [earlier("rbf", 0.7, is_point=True), earlier("linear", 0.6)]
    run = Run(tmp_path, plan_of(startup_trials=3), concurrency=1, earlier=known)
    run_to_end(run.session(), 3)
    engine = run.session()
    run_to_end(engine)
    assert sorted(engine.trials) == list(range(12))
    assert engine.trials[0].config["kernel"] == "rbf"
    study = run.study()
    assert len(study) == 14
    assert [trial.user_attrs.get("earlier") for trial in study[:3]] == [True, True, None]
    assert study[2].params["svm.kernel"] == "rbf"
    assert study[0].intermediate_values == {0: 0.7}


def test_earlier_trials_take_start_up_trials_of_their_own_families_alone():
    plan = plan_of(startup_trials=9, known_points=False)
    searcher = Searcher(None, plan, (), [earlier("rbf", 0.7) for _ in range(40)])
    families = [searcher.ask()[1].family for _ in range(6)]
    assert families == ["forest", "resnet"] * 3


def test_where_a_gpu_is_idle_a_family_that_uses_it_comes_next(tmp_path):
    run = Run(tmp_path, plan_of(budget={"trials": 60}, startup_trials=1), concurrency=4, gpus=1)
    engine = run.session()
    live: list[int] = []
    for _ in range(40):
        while (assignment := engine.suggest()) is not None:
            live.append(assignment.trial)
        families = [engine.trials[trial].family for trial in live]
        assert families.count(Family.RESNET) == 1
        assert len(families) == 4
        fail(engine, live.pop(0))
    networks = [record for record in engine.trials.values() if record.family == Family.RESNET]
    assert {record.is_drawn for record in networks[1:]} == {True, False}


def test_which_idle_family_is_chosen_heeds_the_constraints():
    limit = "val_log_loss <= 0.7"
    svm = earlier("rbf", 0.8).model_copy(update={"reports": {27: 0.8}})
    forest = svm.model_copy(update={"config": {"family": "forest"}, "reports": {27: 0.6}})
    far, near, within = ({"violations": {limit: violation}} for violation in (0.2, 0.1, -0.1))
    elsewhere = {"place": 0.0, "reports": {0: 0.9}}  # what it kept to there says little of here

    def count_forests(*trials: EarlierTrial) -> int:
        searcher = Searcher(None, plan_of(constraints=[limit]), (), [each for each in trials for _ in range(10)])
        chosen = [searcher._preferred((Family.SVM, Family.FOREST), number) for number in range(200)]
        return chosen.count(Family.FOREST)

    assert count_forests(svm.model_copy(update=far), forest.model_copy(update=within)) > 150
    assert count_forests(svm.model_copy(update=far), forest.model_copy(update=near)) > 150
    assert count_forests(svm.model_copy(update=within | elsewhere), forest.model_copy(update=near)) > 150


def test_which_idle_family_is_chosen_says_nothing_of_whether_the_rest_is_drawn():
    searcher = Searcher(None, plan_of())
    families = (Family.SVM, Family.FOREST)
    drawn: dict[Family, list[bool]] = {family: [] for family in families}
    for number in range(400):
        drawn[searcher._preferred(families, number)].append(searcher._sampler._is_of_share(number))
    assert [0.25 < statistics.fmean(drawn[family]) < 0.42 for family in families] == [True, True]
