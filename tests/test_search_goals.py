"""Searches whose trials break limits, pause, or learn from earlier runs, on curves that are made up."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from recorded_run import run_of_three

from results.leaderboard import incumbent, trials_in, trials_of
from results.schema import Event, Status
from search.cli_output import Output, _why_none_won
from search.plan import Plan, validate_plan
from search.plan_file import read_plan, write_plan
from search.run import Outcome
from search.searcher import Searcher
from search.simulation import simulate
from search.warm_start import EarlierTrial
from trainables.curves import LearningCurve

# Accuracy and latency in ms of every config of a family.
FAMILIES = {"svm": (0.7, 30.0), "forest": (0.6, 5.0), "resnet": (0.5, 5.0)}


def curve(config) -> LearningCurve:
    accuracy, latency = FAMILIES[config.family]
    values = tuple(accuracy - 0.1 / rung for rung in (1, 3, 9, 27))
    return LearningCurve(
        config=config,
        fidelity=(1, 3, 9, 27),
        val_accuracy=values,
        val_macro_f1=values,
        val_log_loss=(1.0,) * 4,
        val_recall=((0.5,) * 3,) * 4,
        seconds=(1.0, 3.0, 9.0, 27.0),
        latency_ms=(latency,) * 4,
        model_mb=(1.0,) * 4,
    )


def searched(plan: Plan) -> list[Event]:
    return simulate(plan, curve, {"CPU": 2.0})


def plan_of(**fields: object) -> Plan:
    return validate_plan({"budget": {"trials": 60}, **fields}, "test")


@pytest.mark.parametrize(("limit", "reached"), [(19, {1}), (20, {3})])
def test_a_model_that_is_too_slow_is_stopped_and_no_bar_for_others(limit: int, reached: set[int]):
    plan = plan_of(constraints=[f"latency_ms <= {limit}"])
    trials = trials_of(searched(plan))
    assert {trial.status for trial in trials if trial.family == "svm"} == {Status.STOPPED}
    assert {trial.fidelity for trial in trials if trial.family == "svm"} == reached
    best = incumbent(trials, plan.goals)
    assert best is not None
    assert best.family == "forest"


@pytest.mark.parametrize(
    "fields", [{}, {"promotion": True}, {"scheduler": "median"}], ids=["asha", "promotion", "median"]
)
def test_fast_models_that_are_no_good_do_not_stop_those_that_may_win(fields: dict[str, object]):
    fast = [{"family": "forest", "depth": depth} for depth in range(5, 15)]
    objective = {"objectives": ["latency_ms"], "constraints": ["val_accuracy >= 0.65"]}
    plan = plan_of(**objective, points=fast, margin=0, rungs="shared", known_points=False, **fields)
    trials = trials_of(searched(plan))
    best = incumbent(trials, plan.goals)
    assert best is not None
    assert best.family == "svm"


def test_with_promotion_the_model_learns_from_paused_trials():
    plan = plan_of(promotion=True, rungs="shared", budget={"trials": 80})
    families = Counter(str(trial.family) for trial in trials_of(searched(plan))[30:])
    assert families["svm"] > 0.6 * families.total()


def test_a_warm_started_grid_still_tries_every_config():
    space = {"families": ["svm"], "svm": {"kernel": "linear", "C": [0.1, 1.0], "class_weight": "none"}}
    features = {"kind": "pixels", "contrast": "none", "pca": 64, "mirror": False, "flip": False, "whiten": False}
    space["svm"]["features"] = {**features, "discriminants": "none"}
    plan = plan_of(sampler="grid", space=space)
    searcher = Searcher(None, plan)
    (first, second) = (searcher.ask(), searcher.ask())
    assert searcher.ask() is None
    earlier = EarlierTrial(
        config=first[1].model_dump(mode="json"), status=Status.STOPPED, reports={0: 0.9}, is_point=False
    )
    warm = Searcher(None, plan, earlier=[earlier])
    assert {warm.ask()[1].C, warm.ask()[1].C} == {first[1].C, second[1].C}


@pytest.mark.parametrize(
    ("fidelity", "settings", "sentence"),
    [
        (27, ["constraints=[val_accuracy >= 0.9]"], "no trial of {run} is within val_accuracy >= 0.9 at full"),
        (9, ["constraints=[val_accuracy >= 0.9]"], "no trial of {run} reached full fidelity within val_accuracy"),
        (9, ["constraints=[latency_ms <= 19]"], "no trial of {run} is within latency_ms <= 19 at full fidelity; allow"),
        (9, ["constraints=[latency_ms <= 40]"], "no trial of {run} reached full fidelity within latency_ms <= 40;"),
        (9, [], "no trial of {run} reached full fidelity; give it a larger budget"),
    ],
)
def test_how_a_search_without_a_winner_ends_is_told(tmp_path: Path, fidelity: int, settings: list[str], sentence: str):
    run = run_of_three(tmp_path / "one")
    write_plan(read_plan(run.plan, settings), run.plan)
    trial = trials_in([run])[0]
    last = trial.measurements[-1].model_copy(update={"fidelity": fidelity, "latency_ms": 30.0})
    status = Status.FINISHED if fidelity == 27 else Status.STOPPED
    outcome = Outcome(run, (replace(trial, measurements=(last,), status=status),), 1.0, None, False)
    assert _why_none_won(outcome).startswith(sentence.format(run=run.location))


def test_that_trial_after_trial_failed_is_told_even_where_one_has_won(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = run_of_three(tmp_path / "one")
    best = trials_in([run])[0]
    failed = replace(best, trial=7, status=Status.FAILED, reason="[Errno 5] disk error")
    with pytest.raises(typer.Exit) as stop:
        Output(as_json=True).finish_search(Outcome(run, (best, failed), 1.0, best, False, given_up=True))
    assert stop.value.exit_code == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "in a row failed, so the search ended; the last failure was: [Errno 5] disk error; mend it" in told
    assert f"fertune resume {run.location}" in told


def test_a_reason_in_brackets_is_told_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = run_of_three(tmp_path / "one")
    reason = "[enforce fail at alloc.cpp:117] [/tmp/y]"
    failed = replace(trials_in([run])[0], status=Status.FAILED, reason=reason)
    with pytest.raises(typer.Exit):
        Output(as_json=True).finish_search(Outcome(run, (failed,), 1.0, None, False))
    assert reason in " ".join(capsys.readouterr().err.split())
