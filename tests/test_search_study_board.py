"""optuna-dashboard on a study, over HTTP."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from command_line import wait_until
from engine_run import Run, plan_of, run_to_end

from search.study_board import serve_study
from spaces.errors import InputError


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=30) as answer:
        content: bytes = answer.read()
        return content


@pytest.mark.slow
def test_the_study_is_shown_while_it_grows_and_cannot_be_changed(tmp_path: Path):
    run = Run(tmp_path, plan_of(sampler="random"), concurrency=1)
    engine = run.session()
    run_to_end(engine, 4)  # the first trial finishes
    address = serve_study(run.study_file, 0)
    assert address.startswith("http://127.0.0.1:")
    assert b"<html" in get(address + "dashboard/")
    (study,) = json.loads(get(address + "api/studies"))["study_summaries"]
    trials = f"{address}api/studies/{study['study_id']}"
    before = json.loads(get(trials))["trials"]
    assert before[0]["intermediate_values"]
    run_to_end(engine)
    assert len(before) < 12
    wait_until(lambda: len(json.loads(get(trials))["trials"]) == 12, 60, lambda: "the board does not follow the study")
    run.plan = run.plan.model_copy(update={"budget": run.plan.budget.model_copy(update={"trials": 14})})
    run_to_end(run.session())  # a resume writes the study anew
    (study,) = json.loads(get(address + "api/studies"))["study_summaries"]
    trials = f"{address}api/studies/{study['study_id']}"
    assert len(json.loads(get(trials))["trials"]) == 14
    request = urllib.request.Request(trials, method="DELETE")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=30)
    assert len(run.study()) == 14


def test_without_a_study_it_is_said(tmp_path: Path):
    with pytest.raises(InputError, match="no study here yet"):
        serve_study(tmp_path / "study.journal", 0)
