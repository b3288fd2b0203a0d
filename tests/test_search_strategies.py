"""Points, samplers and schedulers, through the engine."""

import pytest
from engine_run import Run, plan_of, run_to_end

from results.leaderboard import trials_of
from results.schema import Status
from spaces.family import Family


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


@pytest.mark.parametrize("strategy", [{}, {"rungs": "shared"}, {"scheduler": "median"}])
def test_replay_rebuilds_the_rungs(tmp_path, strategy):
    run = Run(tmp_path, plan_of(**strategy))
    first = run.session()
    run_to_end(first, 15)
    assert first._scheduler.rungs
    assert run.session()._scheduler.rungs == first._scheduler.rungs
