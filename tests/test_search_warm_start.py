"""What a search learns from earlier runs."""

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState
from recorded_run import run_of_three
from rich.console import Console

from results.run_folder import RunFolder
from results.schema import Status
from search.dry_run import outline
from search.plan import Plan, validate_plan
from search.run import start
from search.searcher import Searcher
from search.warm_start import BELOW_ALL, earlier_trials
from spaces.errors import InputError

DATA = {"fingerprint": "f", "split": "s"}
HERE = {"processor": "one", "resources": {"CPU": 4.0}}


def run_on(path: Path, data: dict[str, str]) -> RunFolder:
    run = run_of_three(path)
    run.provenance.write_text(json.dumps({"sessions": [{"hardware": HERE}], "data": data}))
    return run


def timed(run: RunFolder) -> RunFolder:
    """The run, as if its trials had measured latencies."""
    lines = [json.loads(line) for line in run.measurements.read_text().splitlines()]
    lines = [{**line, "latency_ms": 30.0} if line["kind"] == "measurement" else line for line in lines]
    run.measurements.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def plan_from(run: RunFolder, **fields: object) -> Plan:
    return validate_plan({"budget": {"trials": 9}, "warm_start": [str(run.path)], **fields}, "test")


def new_run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "new")
    run.path.mkdir()
    return run


def test_the_same_data_keep_fidelities_and_ends(tmp_path):
    plan = plan_from(run_on(tmp_path / "old", DATA))
    found, sentences = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    assert [(trial.status, trial.reports, trial.is_point) for trial in found] == [
        (Status.FINISHED, {27: 0.5}, True),
        (Status.STOPPED, {1: 0.5}, False),
    ], "the trial that failed is left out"
    assert "2 of 2 trials lie in this space; the same data" in sentences[0]


@pytest.mark.parametrize(
    ("data", "fields", "differences"),
    [
        ({"fingerprint": "other", "split": "s"}, {}, "data"),
        ({"fingerprint": "other", "split": "other"}, {"fidelity": {"maximum": 9}}, "data, rungs"),
        ({"fingerprint": "f", "split": "other"}, {}, "faces held out"),
        (DATA, {"fidelity": {"maximum": 9}}, "rungs"),
        (DATA, {"data": {"protocol": {"balance": 300}}}, "balance or classes"),
        (DATA, {"data": {"protocol": {"negative": ["angry", "sad"]}}}, "balance or classes"),
        (DATA, {"fake": {"seconds": 1}}, "learners"),
        (
            DATA,
            {"space": {"resnet": {"arch": "resnet18", "weights": "faces"}}, "pretraining": {"epochs": 3}},
            "pretraining",
        ),
    ],
    ids=["data", "data and more", "split", "fidelity", "faces", "classes", "fake", "pretraining"],
)
def test_of_other_data_or_rungs_the_order_is_kept(tmp_path, data, fields, differences):
    plan = plan_from(run_on(tmp_path / "old", data), **fields)
    found, sentences = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    assert {trial.status for trial in found} == {Status.STOPPED}
    assert all(trial.reports == {BELOW_ALL: 0.5} for trial in found)
    assert [trial.is_point for trial in found] == [True, False]
    assert [trial.place for trial in found] == [0, 0.5]
    assert f"; other {differences}: the sampler learns from their order alone" in sentences[0]


def test_what_keeps_the_constraints_of_this_run_has_a_better_place_than_what_breaks_them(tmp_path):
    run = run_on(tmp_path / "old", {"fingerprint": "other", "split": "s"})
    lines = [json.loads(line) for line in run.measurements.read_text().splitlines()]
    latency = {0: 30.0, 1: 10.0, 2: 10.0}  # trial 0 alone is at full fidelity
    lines = [
        {**line, "latency_ms": latency[line["trial"]]} if line["kind"] == "measurement" else line for line in lines
    ]
    run.measurements.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan = plan_from(run, constraints=["latency_ms <= 20"])
    found, _ = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    assert [(trial.place, trial.violations) for trial in found] == [
        (0.5, {"latency_ms <= 20": 10.0}),
        (0.0, {"latency_ms <= 20": -10.0}),
    ]


def test_trials_outside_the_space_are_left_out_and_it_is_said(tmp_path):
    plan = plan_from(run_on(tmp_path / "old", DATA), space={"svm": {"kernel": "linear"}})
    found, sentences = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    assert not found
    why = "svm.kernel is 'rbf', which is not searched; allowed are linear"
    assert f"0 of 2 trials lie in this space (the best of the others does not: {why}); the same data" in sentences[0]


def test_a_resume_needs_the_earlier_run_no_more(tmp_path):
    old, new = run_on(tmp_path / "old", DATA), new_run(tmp_path)
    plan = plan_from(old)
    found, _ = earlier_trials(plan, new, "f", "s", HERE)
    old.plan.unlink()
    assert earlier_trials(plan, new, "f", "s", HERE) == (found, [])
    with pytest.raises(InputError, match="no run here"):
        earlier_trials(plan, RunFolder(tmp_path / "third"), "f", "s", HERE)


def test_the_best_of_an_earlier_run_keeps_to_the_limits_of_this_one(tmp_path):
    earlier = timed(run_on(tmp_path / "old", DATA))
    found, _ = earlier_trials(plan_from(earlier, constraints=["latency_ms <= 20"]), new_run(tmp_path), "f", "s", HERE)
    assert not any(trial.is_point for trial in found)
    assert {trial.violations["latency_ms <= 20"] for trial in found} == {10.0}


def test_trials_that_did_not_measure_the_objective_are_left_out_and_it_is_said(tmp_path):
    plan = plan_from(run_on(tmp_path / "old", DATA), objectives=["latency_ms"])
    found, sentences = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    assert not found
    assert "2 more did not measure latency_ms" in sentences[0]


def test_an_earlier_run_may_lie_at_a_url(tmp_path):
    run = run_on(tmp_path / "old", DATA)
    plan = plan_from(run, warm_start=[f"file://{run.path}"])
    found, sentences = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    assert [trial.reports for trial in found] == [{27: 0.5}, {1: 0.5}]
    assert f"file://{run.path}: 2 of 2" in sentences[0]


@pytest.mark.parametrize("fields", [{"sampler": "cmaes"}, {"objectives": ["val_accuracy", "latency_ms"]}])
def test_samplers_that_cannot_learn_from_an_order_get_the_best_alone_and_it_is_said(tmp_path, fields):
    run = timed(run_on(tmp_path / "old", {"fingerprint": "other", "split": "s"}))
    found, sentences = earlier_trials(plan_from(run, **fields), new_run(tmp_path), "f", "s", HERE)
    assert [trial.is_point for trial in found] == [True]
    assert "only the best of each family count" in sentences[0]


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_samplers_that_do_not_learn_get_the_best_alone_and_it_is_said(tmp_path, sampler):
    features = {"kind": "pixels", "contrast": "none", "pca": 64, "mirror": False, "flip": False, "whiten": False}
    svm = {"kernel": ["linear", "rbf"], "C": [0.1, 1.0], "class_weight": "none", "gamma": [1.0]}
    space = {"families": ["svm"], "svm": {**svm, "features": {**features, "discriminants": "none"}}}
    plan = plan_from(run_on(tmp_path / "old", DATA), sampler=sampler, **({"space": space} if sampler == "grid" else {}))
    found, sentences = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    assert all(trial.is_point for trial in found)
    why = f"since the sampler {sampler} does not learn"
    assert f"; the same data, pretraining and rungs: only the best of each family count, {why}" in sentences[0]


def test_another_pretraining_matters_only_where_something_begins_with_it(tmp_path):
    plan = plan_from(run_on(tmp_path / "old", DATA), pretraining={"epochs": 3})
    _, sentences = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    assert "the same data" in sentences[0]


def test_what_several_earlier_runs_found_best_is_tried_once(tmp_path):
    plan = plan_from(run_on(tmp_path / "old", DATA))
    found, _ = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    (best,) = [trial for trial in found if trial.is_point]
    once, twice = (Searcher(None, plan, (), [*found, *more]) for more in ((), found))
    assert once._points == twice._points
    given = plan.model_copy(update={"points": (best.config,)})
    assert Searcher(None, given, (), found)._points[0] == Searcher(None, plan, (), found)._points[0]
    assert len(Searcher(None, given, (), found)._points) == len(once._points)


def test_with_several_objectives_what_an_alike_run_finished_keeps_its_values(tmp_path):
    run = timed(run_on(tmp_path / "old", DATA))
    plan = plan_from(run, objectives=["val_accuracy", "latency_ms"], resources={"svm": {"cpus": 2}})
    found, _ = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    study = Searcher(None, plan, (), found)._study
    assert [(trial.state, trial.values) for trial in study.trials] == [
        (TrialState.COMPLETE, [0.5, 30.0]),
        (TrialState.PRUNED, None),
    ]


def test_with_several_objectives_the_best_of_other_data_is_a_point_and_no_bad_trial_of_the_study(tmp_path):
    run = timed(run_on(tmp_path / "old", {"fingerprint": "other", "split": "s"}))
    plan = plan_from(run, objectives=["val_accuracy", "latency_ms"])
    found, _ = earlier_trials(plan, new_run(tmp_path), "f", "s", HERE)
    searcher = Searcher(None, plan, (), found)
    assert searcher._study.trials == []
    several = Searcher(None, plan, (), [*found, *found])
    for each in (searcher, several):
        assert len(each._startup) == len(Searcher(None, plan)._startup)  # it takes the place of a known point
    number, config, _ = searcher.ask()
    assert (number, config.model_dump(mode="json")) == (0, found[0].config)


@pytest.mark.parametrize(
    ("machine", "resources", "kind"),
    [
        (HERE, {"svm": {"cpus": 2}}, "the same data"),
        ({**HERE, "processor": "other"}, {"svm": {"cpus": 2}}, "other machine: the"),
        ({**HERE, "resources": {"CPU": 4.0, "GPU": 1.0}}, {"svm": {"cpus": 2}}, "other machine: the"),
        (HERE, {}, "other resources: the"),
    ],
)
def test_latencies_of_another_machine_are_not_taken_for_this_ones(tmp_path, machine, resources, kind):
    run = timed(run_on(tmp_path / "old", DATA))
    limited = plan_from(run, constraints=["latency_ms <= 50"], resources=resources)
    _, sentences = earlier_trials(limited, new_run(tmp_path), "f", "s", machine)
    assert f"; {kind}" in sentences[0]
    (tmp_path / "new" / "warm_start.json").unlink(missing_ok=True)
    _, sentences = earlier_trials(plan_from(run, resources=resources), RunFolder(tmp_path / "new"), "f", "s", machine)
    assert "; the same data" in sentences[0], "without latency any machine will do"


def test_a_run_with_another_objective_compares_where_it_measured_this_one(tmp_path):
    run = run_on(tmp_path / "old", DATA)
    found, sentences = earlier_trials(plan_from(run, objectives=["val_macro_f1"]), new_run(tmp_path), "f", "s", HERE)
    assert found[0].reports == {27: 0.5}
    assert "the same data" in sentences[0]


def test_a_run_that_is_not_there_is_told_before_the_data_are_read(tmp_path, monkeypatch):
    plan = validate_plan({"budget": {"trials": 9}, "warm_start": [str(tmp_path / "nowhere")]}, "test")
    monkeypatch.setattr("search.run.load_training", lambda *_: pytest.fail("the data were read"))
    with pytest.raises(InputError, match="nowhere: no run here"):
        start(plan, RunFolder(tmp_path / "new"), tmp_path, Console(quiet=True))
    with pytest.raises(InputError, match="nowhere: no run here"):
        outline(plan, {"CPU": 2.0, "GPU": 0.0}, tmp_path, 0)
    assert not (tmp_path / "new").exists()
