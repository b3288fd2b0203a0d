"""`fertune status` from a run's files alone."""

import json

from recorded_run import run_of_three

from results.journal import Journal
from results.schema import TrialTakenUp
from search.plan_file import read_plan, write_plan
from search.status import status_of, status_text


def test_spend_and_patience_are_told(tmp_path):
    info = status_of(run_of_three(tmp_path / "run"))
    assert (info["cpu_seconds"], info["gpu_seconds"], info["without_improvement"]) == (30.0, 0.0, 2)
    text = status_text(info).plain
    assert "30 of 100 CPU-seconds" in text
    assert "2 trials ended since the best one" in text
    assert "GPU" not in text


def test_shared_work_is_told(tmp_path):
    info = status_of(run_of_three(tmp_path / "run"))
    assert (info["cache_hits"], info["cache_misses"], info["cache_bytes"]) == (12, 6, 6 * 10**9)
    assert "12 of 18 pieces found, 6.0 GB, 90 s saved, 6 s waited" in status_text(info).plain


def test_a_run_killed_before_its_first_trial_has_spent_nothing(tmp_path):
    run = run_of_three(tmp_path / "run")
    run.provenance.unlink()
    run.measurements.unlink()
    info = status_of(run)
    assert (info["trials"], info["cpu_seconds"], info["incumbent"]) == (0, 0.0, None)


def test_a_session_that_began_on_a_cluster_without_workers_is_told(tmp_path):
    run = run_of_three(tmp_path / "run")
    values = run.provenance_values()
    values["sessions"][-1]["hardware"]["resources"] = {}
    run.provenance.write_text(json.dumps(values))
    assert status_of(run)["cpu_seconds"] == 30.0


def test_trials_that_wait_at_a_rung_are_told_apart_from_those_that_run(tmp_path):
    run = run_of_three(tmp_path / "run")
    run.measurements.write_text("".join(line for line in run.measurements.open() if '"end"' not in line))
    assert (status_of(run)["running"], status_of(run)["paused"]) == (3, 0)
    plan = read_plan(run.plan)
    write_plan(plan.model_copy(update={"promotion": True}), run.plan)
    with Journal(run.measurements) as journal:
        journal.append(TrialTakenUp(trial=2, time=4.0))
    info = status_of(run)
    assert (info["running"], info["paused"]) == (1, 2)
    assert "2 paused, 1 unfinished" in status_text(info).plain
    write_plan(plan.model_copy(update={"promotion": True, "rungs": "seconds"}), run.plan)
    assert status_of(run)["paused"] == 0, "not every measurement lies at a rung"
