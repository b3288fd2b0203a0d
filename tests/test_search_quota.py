"""Which models a search keeps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_faces import drawn_faces

from results.goals import Goals
from results.leaderboard import ACCURACY, TrialRecord
from results.schema import Measurement, Status
from search.quota import Quota
from spaces.family import Family
from spaces.svm import SvmConfig
from trainables.base import Task
from trainables.checkpoint import TrialCheckpoints
from trainables.fake import FakeLearner
from trainables.storage import StorageError

TASK = Task(drawn_faces(30, seed=1))


def measurement(trial: int, fidelity: int, accuracy: float) -> Measurement:
    return Measurement(
        trial=trial,
        time=0.0,
        fidelity=fidelity,
        val_accuracy=accuracy,
        val_macro_f1=accuracy,
        val_log_loss=1.0,
        val_recall=(accuracy,) * 3,
        fit_seconds=1.0,
        total_seconds=1.0,
        images_per_second=1.0,
        cache_hit=True,
        model_mb=10 * accuracy,
        checkpoint="x",
    )


class Trials:
    """Ended trials with real checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[int, TrialRecord] = {}

    def add(self, accuracy: float, fidelity: int = 27, family: Family = Family.SVM, failed: bool = False) -> int:
        trial = len(self.records)
        ended = Status.FINISHED if fidelity == 27 else Status.STOPPED
        record = TrialRecord(
            run="",
            trial=trial,
            family=family,
            config={},
            status=Status.FAILED if failed else ended,
            fidelity=fidelity,
            val_accuracy=accuracy,
            val_macro_f1=accuracy,
            val_log_loss=1.0,
            seconds=1.0,
            is_drawn=False,
            seed=0,
            reason="",
            measurements=(measurement(trial, fidelity, accuracy),) if fidelity else (),
        )
        self.records[trial] = record
        if fidelity:
            learner = FakeLearner(SvmConfig(), TASK, seconds=0)
            learner.fit_to(fidelity)
            TrialCheckpoints(self.folder, trial).write(learner, np.ones((2, 3), np.float32), {}, keep_state=True)
        return trial

    def with_models(self) -> set[int]:
        return {int(path.parts[-3]) for path in self.folder.glob("*/*/model")}


@pytest.fixture
def trials(tmp_path) -> Trials:
    return Trials(tmp_path)


def quota(trials: Trials, most: int = 2, goals: Goals = ACCURACY) -> Quota:
    return Quota(str(trials.folder), most, trials.records.__getitem__, goals)


def test_a_model_that_breaks_a_constraint_makes_room(trials):
    kept = quota(trials, goals=Goals(constraints=("model_mb <= 6.5",)))
    for accuracy in (0.5, 0.7, 0.6, 0.8):
        kept.end(trials.add(accuracy))
    assert trials.with_models() == {0, 2}


def test_the_models_on_the_pareto_front_are_kept(trials):
    kept = quota(trials, most=1, goals=Goals(objectives=("val_accuracy", "model_mb")))
    for accuracy in (0.5, 0.7, 0.6):  # the more accurate, the larger
        kept.end(trials.add(accuracy))
    slow = trials.add(0.5)
    larger = measurement(slow, 27, 0.5).model_copy(update={"model_mb": 6.5})
    trials.records[slow] = replace(trials.records[slow], measurements=(larger,))
    kept.end(slow)
    assert trials.with_models() == {0, 1, 2}


def test_the_best_of_each_family_are_kept_and_probabilities_of_all(trials):
    kept = quota(trials)
    for accuracy in (0.5, 0.7, 0.6, 0.8):
        kept.end(trials.add(accuracy))
    kept.end(trials.add(0.4, family=Family.FOREST))
    assert trials.with_models() == {1, 3, 4}
    assert len(list(trials.folder.glob("*/*/validation.npy"))) == 5
    assert not list(trials.folder.glob("*/*/learner.json"))


def test_full_fidelity_counts_for_more_than_accuracy(trials):
    kept = quota(trials)
    for accuracy, fidelity in ((0.9, 9), (0.95, 3), (0.5, 27), (0.99, 1)):
        kept.end(trials.add(accuracy, fidelity))
    assert trials.with_models() == {0, 2}


def test_a_running_trial_keeps_its_model_and_its_state(trials):
    running = trials.add(0.1, fidelity=9)
    kept = quota(trials, most=1)
    for accuracy in (0.5, 0.7):
        kept.end(trials.add(accuracy))
    assert trials.with_models() == {running, 2}
    assert (TrialCheckpoints(trials.folder, running).path(9) / "learner.json").exists()


def test_a_trial_that_failed_before_its_first_rung_has_nothing_to_keep(trials):
    kept = quota(trials, most=1)
    kept.end(trials.add(0.5))
    kept.end(trials.add(0.0, fidelity=0, failed=True))
    assert trials.with_models() == {0}


def test_a_resumed_search_goes_on_with_what_was_kept(trials):
    first = quota(trials)
    for accuracy in (0.5, 0.7, 0.6):
        first.end(trials.add(accuracy))
    second = quota(trials)
    second.replay(trials.records.values())
    second.end(trials.add(0.65))
    assert trials.with_models() == {1, 3}


def test_what_storage_does_not_do_now_is_done_when_the_next_trial_ends(trials, monkeypatch):
    kept = quota(trials, most=1)
    kept.end(trials.add(0.5))

    def away(self: TrialCheckpoints) -> None:
        raise StorageError("s3://bucket/run: connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(TrialCheckpoints, "drop_model", away)
        kept.end(trials.add(0.7))
        patched.setattr(TrialCheckpoints, "drop_state", away)
        kept.end(trials.add(0.9))
    assert trials.with_models() == {0, 1, 2}
    kept.end(trials.add(0.4))
    assert trials.with_models() == {2}
