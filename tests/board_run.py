"""A run that wrote TensorBoard's events: a real engine and a real board, trials that answer at random, no Ray."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from engine_run import report

from results.journal import Journal
from results.leaderboard import trials_of
from results.run_folder import RunFolder
from search.board import Board
from search.engine import Engine
from search.plan import Plan, validate_plan
from search.plan_file import write_plan
from search.room import Room
from search.scheduler import Verdict
from search.searcher import Searcher
from trainables.checkpoint import VALIDATION
from trainables.data.faceset import Faces
from trainables.data.protocol import TrainingData, load_training
from trainables.metrics import score


def searched_run(path: Path, cache: Path, steps: int = 10_000, **fields: Any) -> RunFolder:
    """A run at `path` of a plan with `fields`, left by its driver after `steps` reports."""
    values = {"data": {"demo_images": 700, "protocol": {"balance": 60}}, "budget": {"trials": 6}, "margin": 0, **fields}
    plan = validate_plan(values, "test")
    path.mkdir(parents=True)
    run = RunFolder(path)
    write_plan(plan, run.plan)
    data = load_training(plan.data, cache)
    run.provenance.write_text(json.dumps({"data": {"fingerprint": data.fingerprint, "split": data.split}}))
    search_on(run, plan, data, steps)
    return run


def search_on(run: RunFolder, plan: Plan, data: TrainingData, steps: int, past: Any = ()) -> None:
    """One session of the search in `run`."""
    with Journal(run.measurements) as journal:
        room = Room(plan.resources, {"CPU": 2.0, "GPU": 0.0}, plan.space.families)
        engine = Engine(plan, Searcher(run.study, plan, trials_of(past)), past, journal.append, room)
        with Board(run, engine, data.validation) as board:
            engine.listen(board.hear)
            engine.begin()
            _answer(engine, run, data.validation, steps)
            engine.close()


def _answer(engine: Engine, run: RunFolder, faces: Faces, steps: int) -> None:
    live: dict[int, int] = {}
    for _ in range(steps):
        while (assignment := engine.suggest()) is not None:
            live[assignment.trial] = assignment.recorded
        if not live:
            return
        trial = next(iter(live))
        fidelity = engine.plan.fidelity.next_rung(live.pop(trial))
        if engine.report(_measured(run, faces, trial, fidelity)) is Verdict.GO_ON:
            live[trial] = fidelity


def _measured(run: RunFolder, faces: Faces, trial: int, fidelity: int) -> dict[str, Any]:
    """The report of a trial that guesses, better at higher fidelities, and the probabilities it kept."""
    noise = np.random.default_rng([trial, fidelity]).dirichlet(np.ones(3), len(faces.labels))
    share = 0.1 + 0.05 * np.log(fidelity)
    probabilities = (share * np.eye(3)[faces.labels] + (1 - share) * noise).astype(np.float32)
    made = report(trial, fidelity, 0.0)
    checkpoint = run.path / made["checkpoint"]
    checkpoint.mkdir(parents=True)
    np.save(checkpoint / VALIDATION, probabilities)
    scores = score(faces.labels, probabilities)
    return {**made, "val_accuracy": scores.accuracy, "val_macro_f1": scores.macro_f1, "val_log_loss": scores.log_loss}
