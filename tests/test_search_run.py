"""Whole searches with real Ray, in processes of their own; the learner is fake where training is beside the point."""

import json
import os
import signal
import subprocess
from pathlib import Path

import optuna
import psutil
import pytest
from command_line import CommandLine, wait_until
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from results.journal import read_events
from results.schema import Event, Measurement, SessionEnd, SessionStart, Status, TrialEnd, TrialStart, TrialTakenUp
from search.scheduler import Asha, Report
from spaces.family import Family
from spaces.fidelity import Fidelity

pytestmark = pytest.mark.timeout(280)


def write_plan(folder: Path, trials: int, seconds: float) -> str:
    (folder / "plan.yaml").write_text(
        f"data: {{demo_images: 700, protocol: {{balance: none}}}}\nbudget: {{trials: {trials}}}\n"
        f"fake: {{seconds: {seconds}}}\ncluster: {{cpus: 2}}\nstartup_trials: 6\n"
    )
    return "plan.yaml"


def ended(events: list[Event]) -> set[int]:
    return {event.trial for event in events if isinstance(event, TrialEnd)}


def wait_for_ends(run: Path, count: int, process: subprocess.Popen[str]) -> None:
    def enough() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"the search ended early:\n{process.communicate()}")
        path = run / "measurements.jsonl"
        return path.exists() and len(ended(read_events(path))) >= count

    wait_until(enough, 120, lambda: "too few trials ended in two minutes")


def study_states(run: Path) -> list[optuna.trial.TrialState]:
    storage = JournalStorage(JournalFileBackend(str(run / "study.journal")))
    return [trial.state for trial in optuna.load_study(study_name=None, storage=storage).trials]


def check_complete(run: Path, trials: int) -> None:
    """No trial twice, no rung empty, none left running in the study, the plan's total."""
    events = read_events(run / "measurements.jsonl")
    assert [e.trial for e in events if isinstance(e, TrialStart)] == list(range(trials))
    assert sorted(e.trial for e in events if isinstance(e, TrialEnd)) == list(range(trials))
    measured = [(e.trial, e.fidelity) for e in events if isinstance(e, Measurement)]
    assert len(measured) == len(set(measured))
    asha = Asha(Fidelity())
    families = {e.trial: e.family for e in events if isinstance(e, TrialStart)}
    for event in events:
        if isinstance(event, Measurement):
            asha.report(Report(event.trial, families[event.trial], event.fidelity, event.val_accuracy))
    assert all((family, 1, True, False) in asha.rungs for family in set(families.values()))
    assert sum(len(values) for rung, values in asha.rungs.items() if rung.level == 1) == trials
    states = study_states(run)
    assert len(states) == trials
    assert all(state.is_finished() for state in states)


def test_a_search_leaves_a_complete_run(fertune: CommandLine):
    outcome = fertune.json("search", write_plan(fertune.folder, 12, 0.05), "--name", "one")
    assert set(outcome) == {"run", "trials", "finished", "stopped", "failed", "seconds", "incumbent"}
    assert outcome["trials"] == 12 == outcome["finished"] + outcome["stopped"]
    assert outcome["incumbent"]["status"] == Status.FINISHED
    run = fertune.folder / outcome["run"]
    check_complete(run, 12)
    kept = {path.name for path in run.iterdir()} - {".lock"}
    assert kept == {
        "plan.yaml",
        "provenance.json",
        "study.journal",
        "measurements.jsonl",
        "checkpoints",
        "tensorboard",
        "tune",
        "leaderboard.csv",
    }
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["data"]["fingerprint"]
    assert provenance["sessions"][0]["versions"]["ray"].startswith("2.")
    for event in read_events(run / "measurements.jsonl"):
        if isinstance(event, TrialEnd):
            (checkpoint,) = (run / "checkpoints" / f"{event.trial:05d}").iterdir()
            assert {path.name for path in checkpoint.iterdir()} == {"model", "validation.npy", "report.json"}
    again = fertune.run("search", "plan.yaml", "--name", "one", code=2)
    assert "holds a run already" in again.stderr
    assert "fake" in fertune.run("select", outcome["run"], code=2).stderr
    assert fertune.json("status", outcome["run"])["finished"] == outcome["finished"]
    assert fertune.json("results", outcome["run"])["incumbent"]["trial"] == outcome["incumbent"]["trial"]


SEARCH_AND_SEE = """
import sys
from search.cli import main
try:
    main()
finally:
    print(sorted({"mlflow", "wandb"} & set(sys.modules)))
"""


def test_a_search_loads_no_tracker_unasked_and_a_resume_with_nothing_left_says_so(fertune: CommandLine):
    printed = fertune.python(SEARCH_AND_SEE, "search", write_plan(fertune.folder, 1, 0.05), "--name", "one")
    assert printed.splitlines()[-1] == "[]"
    again = fertune.run("resume", "runs/one", "--minutes", "60")
    assert "nothing is left to do within budget.trials 1; `fertune resume RUN --trials MORE` goes on" in again.stderr


def test_kill_9_of_the_driver_and_resume(fertune: CommandLine):
    search = fertune.start("search", write_plan(fertune.folder, 24, 0.6), "--name", "killed")
    run = fertune.folder / "runs" / "killed"
    wait_for_ends(run, 5, search)
    search.kill()
    search.wait()
    before = read_events(run / "measurements.jsonl")
    assert 5 <= len(ended(before)) < 24
    fertune.wait_for_no_leftovers()
    outcome = fertune.json("resume", "runs/killed")
    assert outcome["trials"] == 24 == outcome["finished"] + outcome["stopped"]
    check_complete(run, 24)
    provenance = json.loads((run / "provenance.json").read_text())
    assert ["resume" in session["command"] for session in provenance["sessions"]] == [False, True]
    new = read_events(run / "measurements.jsonl")[len(before) :]
    assert not {event.trial for event in new if not isinstance(event, SessionStart | SessionEnd)} & ended(before)


def test_ctrl_c_keeps_the_state_and_ends_the_workers(fertune: CommandLine):
    search = fertune.start("search", write_plan(fertune.folder, 8, 8.0), "--name", "stopped", "--json")
    run = fertune.folder / "runs" / "stopped"
    wait_for_ends(run, 1, search)
    assert fertune.json("status", "runs/stopped")["active"]
    assert "another process is searching" in fertune.run("resume", "runs/stopped", code=2).stderr
    os.killpg(search.pid, signal.SIGINT)  # what Ctrl-C does in a terminal: the whole process group gets it
    out, err = search.communicate(timeout=60)
    assert search.returncode == 130, err
    assert "fertune resume runs/stopped" in err
    outcome = json.loads(out.splitlines()[-1])
    assert outcome["trials"] > outcome["finished"] + outcome["stopped"]
    fertune.wait_for_no_leftovers()
    assert not fertune.json("status", "runs/stopped")["active"]
    assert fertune.json("resume", "runs/stopped")["trials"] == 8
    check_complete(run, 8)


def workers_of(driver: int) -> list[psutil.Process]:
    """The processes that train a trial now; Ray names a process after what it does."""
    workers = []
    for child in psutil.Process(driver).children(recursive=True):
        try:
            if " ".join(child.cmdline()).startswith("ray::Trial"):
                workers.append(child)
        except psutil.NoSuchProcess:
            continue
    return workers


def test_a_killed_worker_costs_a_trial_nothing_but_time(fertune: CommandLine):
    search = fertune.start("search", write_plan(fertune.folder, 8, 4.0), "--name", "worker")
    run = fertune.folder / "runs" / "worker"
    wait_for_ends(run, 1, search)
    wait_until(lambda: bool(workers_of(search.pid)), 60, lambda: "no worker is training")
    for worker in workers_of(search.pid):
        worker.kill()
    out, err = search.communicate(timeout=200)
    assert search.returncode == 0, f"{out}\n{err}"
    reasons = [e.reason for e in read_events(run / "measurements.jsonl") if isinstance(e, TrialEnd) and e.reason]
    assert not reasons
    check_complete(run, 8)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_first_example_searches_all_families_and_leaves_a_model(fertune: CommandLine):
    plan = Path(__file__).resolve().parent.parent / "examples" / "quick.yaml"
    # As many trials on any machine, of cheaper networks: on a slow one none of the plan's ends in its minutes.
    cheaper = ["--trials", "10", "--minutes", "60", "--set", "space.resnet.epochs=2"]
    outcome = fertune.json("search", str(plan), "--name", "quick", *cheaper, timeout=500)
    assert outcome["failed"] == 0
    assert outcome["stopped"] >= 3
    trials = fertune.json("results", "runs/quick")["trials"]
    assert {trial["family"] for trial in trials if trial["status"] == Status.FINISHED} == set(Family)
    test = fertune.json("select", "runs/quick")["test"]
    assert test["accuracy"] > 0.75
    exported = fertune.json("export", "runs/quick")
    assert (fertune.folder / exported["artifact"] / "manifest.json").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_paused_trials_are_taken_up_from_their_checkpoints(fertune: CommandLine):
    plan = write_plan(fertune.folder, 9, 0.05)
    strategy = ["--set", "promotion=true", "--set", "rungs=shared", "--set", "sampler=random"]
    outcome = fertune.json("search", plan, "--name", "paused", *strategy, timeout=800)
    assert outcome["trials"] == 9 == outcome["finished"] + outcome["stopped"]
    assert outcome["finished"] >= 1
    run = fertune.folder / "runs" / "paused"
    check_complete(run, 9)
    reached: dict[int, list[int]] = {}
    at: dict[int, dict[int, float]] = {1: {}, 3: {}, 9: {}, 27: {}}
    taken: dict[int, int] = {}  # up from this rung
    for event in read_events(run / "measurements.jsonl"):
        if isinstance(event, Measurement):
            reached.setdefault(event.trial, []).append(event.fidelity)
            at[event.fidelity][event.trial] = event.val_accuracy
        elif isinstance(event, TrialTakenUp):
            rung = reached[event.trial][-1]
            better = [trial for trial, value in at[rung].items() if value > at[rung][event.trial]]
            assert 3 * len(better) < 2 * len(at[rung]), "it was of the worst third of those that had come so far"
            assert all(taken.get(trial, 0) >= rung for trial in better), "a better one waits"
            taken[event.trial] = rung
    assert max(map(len, reached.values())) == 4
    assert min(map(len, reached.values())) == 1, "not even the worst stays where it was"
    assert all(fidelities == [1, 3, 9, 27][: len(fidelities)] for fidelities in reached.values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_paused_trials_do_not_fill_the_disk(fertune: CommandLine):
    """The search ends, with its target, when the first of 27 trials has been promoted thrice."""
    plan = write_plan(fertune.folder, 200, 0.05)
    strategy = ("promotion=true", "margin=0", "rungs=shared", "sampler=random", "models=2", "budget.target=0.3")
    outcome = fertune.json("search", plan, "--name", "bounded", *(f"--set={each}" for each in strategy), timeout=500)
    assert outcome["trials"] < 200
    run = fertune.folder / "runs" / "bounded"
    events = read_events(run / "measurements.jsonl")
    first_end = next(event.time for event in events if isinstance(event, TrialEnd))
    assert any(event.time > first_end for event in events if isinstance(event, Measurement))  # passed over meanwhile
    unended = {event.trial for event in events if isinstance(event, TrialStart)} - ended(events)
    assert len(unended) <= 2
    checkpoints = run / "checkpoints"
    assert {int(path.parts[-3]) for path in checkpoints.glob("*/*/learner.json")} <= unended
    assert len(list(checkpoints.glob("*/*/model"))) <= 2 * len(Family) + len(unended)
    assert len(list(checkpoints.glob("*/*/validation.npy"))) >= 27
