"""A recorded run of three trials: files alone, nothing trained."""

import json
from pathlib import Path

from results.journal import Journal
from results.run_folder import RunFolder
from results.schema import Measurement, SessionStart, Status, TrialEnd, TrialStart
from search.plan import validate_plan
from search.plan_file import write_plan
from spaces.family import Family
from spaces.svm import SvmConfig


def run_of_three(path: Path) -> RunFolder:
    """A run of three svm trials of two CPUs: one finished, then one stopped and one failed."""
    path.mkdir()
    run = RunFolder(path)
    budget = {"trials": 9, "patience": 4, "cpu_seconds": 100}
    write_plan(validate_plan({"budget": budget, "resources": {"svm": {"cpus": 2}}}, "test"), run.plan)
    run.provenance.write_text(json.dumps({"sessions": [{"hardware": {"resources": {"CPU": 4.0}}}]}))
    ends = (Status.FINISHED, 27, 8.0), (Status.STOPPED, 1, 3.0), (Status.FAILED, 3, 4.0)
    with Journal(run.measurements) as journal:
        journal.append(SessionStart(time=0.0))
        for trial, (status, fidelity, seconds) in enumerate(ends):
            config = SvmConfig().model_dump(mode="json")
            journal.append(TrialStart(trial=trial, time=1.0, family=Family.SVM, config=config, seed=0))
            journal.append(
                Measurement(
                    trial=trial,
                    time=2.0,
                    fidelity=fidelity,
                    val_accuracy=0.5,
                    val_macro_f1=0.5,
                    val_log_loss=1.0,
                    val_recall=(0.5, 0.5, 0.5),
                    fit_seconds=1.0,
                    total_seconds=seconds,
                    images_per_second=1.0,
                    cache_hit=True,
                    cache_hits=4,
                    cache_misses=2,
                    cache_bytes=2 * 10**9,
                    cache_seconds_saved=30.0,
                    cache_wait_seconds=2.0,
                    checkpoint="checkpoints/x",
                )
            )
            journal.append(TrialEnd(trial=trial, time=3.0, status=status))
    return run
