"""Objectives, constraints and the Pareto front."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from results.front import front_json, pareto_front
from results.goals import Constraint, Goals, parse_constraint
from results.journal import Journal
from results.leaderboard import TrialRecord, incumbent, ranked, trials_in, trials_of
from results.run_folder import RunFolder
from results.schema import Event, Measurement, Status, TrialEnd, TrialStart
from search.cli import main
from search.plan import validate_plan
from search.plan_file import write_plan
from spaces.family import Family
from spaces.svm import SvmConfig

TWO = Goals(objectives=("val_accuracy", "latency_ms"))


def events(values: list[tuple[float, float]]) -> list[Event]:
    """Finished trials with these accuracies and latencies."""
    found: list[Event] = []
    for trial, (accuracy, latency) in enumerate(values):
        config = SvmConfig().model_dump(mode="json")
        found += [
            TrialStart(trial=trial, time=0, family=Family.SVM, config=config, seed=0),
            Measurement(
                trial=trial,
                time=1,
                fidelity=27,
                val_accuracy=accuracy,
                val_macro_f1=accuracy,
                val_log_loss=1,
                val_recall=(0.5, 0.5, 0.5),
                fit_seconds=1,
                total_seconds=1,
                images_per_second=1,
                cache_hit=True,
                latency_ms=latency,
                checkpoint="x",
            ),
            TrialEnd(trial=trial, time=2, status=Status.FINISHED),
        ]
    return found


def records(values: list[tuple[float, float]]) -> list[TrialRecord]:
    return trials_of(events(values))


def test_a_front_by_hand():
    values = [(0.7, 30.0), (0.6, 10.0), (0.6, 20.0), (0.5, 5.0), (0.65, 30.0), (0.6, 10.0)]
    assert [record.trial for record in pareto_front(records(values), TWO)] == [0, 1, 5, 3]


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 100)), max_size=30))
def test_nothing_beats_the_front_and_all_others_are_beaten(values):
    chosen = {record.trial for record in pareto_front(records(values), TWO)}
    for trial, (accuracy, latency) in enumerate(values):
        beaten = any(a >= accuracy and ms <= latency and (a, ms) != (accuracy, latency) for a, ms in values)
        assert (trial not in chosen) is beaten


def test_constraints_decide_who_may_win():
    found = records([(0.7, 30.0), (0.6, 10.0)])
    goals = Goals(constraints=("latency_ms <= 20",))
    assert incumbent(found).trial == 0
    assert incumbent(found, goals).trial == 1
    assert [record.trial for record in ranked(found, goals)] == [1, 0]
    assert incumbent(found, Goals(constraints=("latency_ms <= 1",))) is None


def test_the_first_objective_ranks():
    found = records([(0.7, 30.0), (0.6, 10.0)])
    assert incumbent(found, Goals(objectives=("latency_ms", "val_accuracy"))).trial == 1


def test_those_that_break_a_constraint_are_compared_by_how_near_they_come():
    goals = Goals(objectives=("latency_ms",), constraints=("val_accuracy >= 0.5", "latency_ms <= 20"))
    found = [record.measurements[-1] for record in records([(0.6, 10.0), (0.4, 10.0), (0.5, 30.0), (0.25, 40.0)])]
    assert [goals.standing(each) for each in found] == [
        (True, -10.0),
        (False, pytest.approx(-0.2)),
        (False, pytest.approx(-0.5)),
        (False, pytest.approx(-1.5)),
    ]


@pytest.mark.parametrize(
    ("latencies", "may"),
    [([10.0], True), ([30.0], True), ([30.1], False), ([25.0, 21.0], False), ([25.0, 20.0, 25.0], True)],
)
def test_one_timing_condemns_a_model_only_if_it_is_far_too_slow(latencies: list[float], may: bool):
    goals = Goals(constraints=("latency_ms <= 20", "val_accuracy >= 0.9"))
    found = [record.measurements[-1] for record in records([(0.6, latency) for latency in latencies])]
    assert goals.may_keep_footprint(found) is may


def test_a_model_that_is_too_large_stays_so():
    (record,) = records([(0.6, 10.0)])
    sizes = [[record.measurements[-1].model_copy(update={"model_mb": size})] for size in (5.0, 5.1)]
    assert [Goals(constraints=("model_mb <= 5",)).may_keep_footprint(each) for each in sizes] == [True, False]


def test_constraints_are_read():
    assert parse_constraint("latency_ms <= 20") == Constraint("latency_ms", 1, 20.0)
    assert parse_constraint("val_accuracy>=0.7") == Constraint("val_accuracy", -1, 0.7)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("latency_ms < 20", "reads like `latency_ms <= 20`"),
        ("speed <= 20", "'speed' is not measured; a constraint limits one of val_accuracy"),
        ("latency_ms <= 1e", "the limit of a constraint is a number; received '1e'"),
    ],
)
def test_other_constraints_are_refused(text, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Goals(constraints=(text,))


def test_an_objective_is_named_once():
    with pytest.raises(ValidationError, match="named twice"):
        Goals(objectives=("latency_ms", "latency_ms"))


def test_results_show_the_front(tmp_path: Path, capsys):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    write_plan(validate_plan({"budget": {"trials": 3}, "objectives": ["val_accuracy", "latency_ms"]}, "test"), run.plan)
    with Journal(run.measurements) as journal:
        for event in events([(0.7, 30.0), (0.6, 10.0), (0.5, 20.0)]):
            journal.append(event)
    assert [row["latency_ms"] for row in front_json(trials_in([run]), run.goals())] == [30.0, 10.0]
    for arguments in (["results", str(run.path), "--json"], ["results", str(run.path)]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
    out = capsys.readouterr().out
    assert [row["trial"] for row in json.loads(out.splitlines()[0])["front"]] == [0, 1]
    assert [line.strip() for line in out.splitlines()].count("Pareto front") == 1
    shutil.copytree(run.path, tmp_path / "other")
    with pytest.raises(SystemExit) as end:
        main(["results", str(run.path), str(tmp_path / "other")])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.count("Pareto front of") == 2


def test_different_goals_are_not_ranked_together(tmp_path: Path, capsys):
    paths = []
    for name, objective in (("a", "val_accuracy"), ("b", "val_macro_f1")):
        run = RunFolder(tmp_path / name)
        run.path.mkdir()
        write_plan(validate_plan({"budget": {"trials": 3}, "objectives": [objective]}, "test"), run.plan)
        paths.append(str(run.path))
    with pytest.raises(SystemExit) as end:
        main(["results", *paths])
    assert end.value.code == 2
    assert "searched for different things" in " ".join(capsys.readouterr().err.split())


def test_what_is_limited_is_shown_and_what_breaks_a_limit_is_marked(tmp_path: Path, capsys):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    write_plan(validate_plan({"budget": {"trials": 3}, "constraints": ["latency_ms <= 20"]}, "test"), run.plan)
    with Journal(run.measurements) as journal:
        for event in events([(0.7, 30.0), (0.6, 10.0)]):
            journal.append(event)

    def printed(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main([*arguments, str(run.path)])
        assert end.value.code == 0
        return capsys.readouterr().out

    shown = printed("results")
    rows = [line.split() for line in shown.splitlines() if "svm" in line]
    assert [(row[0], "FINISHED*" in row, row[-2]) for row in rows] == [("1", False, "10"), ("0", True, "30")]
    assert "* breaks a constraint" in shown
    found = json.loads(printed("results", "--json"))
    assert [trial["latency_ms"] for trial in found["trials"]] == [10.0, 30.0]
    assert [trial["breaks_limits"] for trial in found["trials"]] == [False, True]
    assert found["incumbent"]["trial"] == 1
    assert "0.6000, latency_ms 10" in printed("status")
    assert "latency_ms" in printed("results", "--table", "curves", "--json")
