"""The adapter, called as Tune calls it but in this process: one trial, its checkpoints and its reports."""

import itertools
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainables.shared_features as features_module
import trainables.trial as trial_module
from spaces.features import FeatureConfig
from spaces.fidelity import Fidelity
from spaces.svm import SvmConfig
from trainables.checkpoint import TrialCheckpoints
from trainables.data.protocol import load_training
from trainables.data.spec import DataSpec, ProtocolSpec
from trainables.job import REPORT, Assignment, Job
from trainables.lease import Lease
from trainables.metrics import score
from trainables.prefix import Prefix
from trainables.storage import StorageError
from trainables.svm import SvmLearner
from trainables.trial import Trial, _faces, _training_data

DATA = DataSpec(demo_images=700, protocol=ProtocolSpec(balance="none"))
CONFIG = SvmConfig(kernel="linear", C=0.1)


def tune_config(folder: Path, cache: Path, config: Any = CONFIG, recorded: int = 0, **job: Any) -> dict[str, Any]:
    threads = {"svm": 1, "forest": 1, "resnet": 1}
    seen = load_training(job.get("data", DATA), cache)
    values = {"checkpoints": str(folder / "checkpoints"), "data": DATA, "cache": cache, "scale": Fidelity()}
    values |= {"fingerprint": seen.fingerprint, "split": seen.split, **job}
    assignment = Assignment(trial=7, config=config, seed=0, recorded=recorded)
    return {"job": Job(threads=threads, **values).model_dump(mode="json"), **assignment.model_dump(mode="json")}


def steps(trial: Trial, count: int) -> list[dict[str, Any]]:
    return [trial.advance() for _ in range(count)]


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in report.items() if "second" not in k and k != "cache_hit"}


def test_a_second_trial_finds_the_work_of_the_first_and_measures_the_same(tmp_path, cache):
    config = SvmConfig(features=FeatureConfig(pca=16, mirror=True, flip=True))
    reports = {}
    for name, limit in (("off", None), ("first", 10**9), ("second", 10**9)):
        (tmp_path / name).mkdir()
        folder = tmp_path / "node" if limit else cache
        values = tune_config(tmp_path / name, folder, config, cache_bytes=limit)
        reports[name] = steps(Trial(values), 2)
    off, first, second = reports.values()
    assert all(report["cache_hits"] == report["cache_misses"] == 0 for report in off)
    # The faces, then per rung features, and vectors of faces and mirror images; the first trial also describes faces.
    assert (first[-1]["cache_hits"], first[-1]["cache_misses"]) == (2, 13)
    assert (second[-1]["cache_hits"], second[-1]["cache_misses"]) == (7, 0)
    assert second[-1]["cache_bytes"] > 0
    for name in ("val_accuracy", "val_log_loss", "val_recall"):
        assert [report[name] for report in off] == [report[name] for report in first]
        assert [report[name] for report in first] == [report[name] for report in second]


def test_counts_of_shared_work_go_on_in_another_worker(tmp_path, cache):
    first = steps(Trial(tune_config(tmp_path, cache, cache_bytes=10**9)), 2)
    rest = steps(Trial(tune_config(tmp_path, cache, recorded=3, cache_bytes=10**9)), 1)
    assert rest[0]["cache_misses"] > first[-1]["cache_misses"]


def test_seconds_of_training_leave_out_the_wait_for_another_trial(tmp_path, cache):
    node = tmp_path / "node"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    Trial(tune_config(tmp_path / "first", node, cache_bytes=10**9)).advance()
    (entry,) = (node / "shared").glob("fitted-*")
    shutil.rmtree(entry)
    lease = Lease.take(entry.with_name(f".{entry.name}.lease"))
    trial = Trial(tune_config(tmp_path / "second", node, cache_bytes=10**9))

    def hold() -> None:
        with lease.kept_alive():
            while trial.cache is None or trial.cache.counts.wait_seconds < 1:
                time.sleep(0.05)
        lease.give_back()

    threading.Thread(target=hold, daemon=True).start()
    report = trial.advance()
    assert report["cache_wait_seconds"] >= 1
    assert report["fit_seconds"] + report["predict_seconds"] < report["total_seconds"] - report["cache_wait_seconds"]


def test_the_faces_are_one_memory_mapped_copy_and_those_of_the_protocol(tmp_path, cache):
    seen = load_training(DATA, cache)
    trial = Trial(tune_config(tmp_path, cache, cache_bytes=10**9))
    trial.advance()
    _faces.cache_clear()
    found, asked = _training_data(trial.job)
    counts = asked.counts
    assert (counts.hits, counts.misses) == (1, 0)
    assert counts.bytes > found.train.images.nbytes + found.validation.images.nbytes
    for mine, its in ((found.train, seen.train), (found.validation, seen.validation)):
        assert isinstance(mine.images.base, np.memmap)
        assert np.array_equal(mine.images, its.images)
        assert np.array_equal(mine.labels, its.labels)
        assert np.array_equal(mine.emotions, its.emotions)
        assert isinstance(mine.names._array.base, np.memmap)
        assert mine.names == its.names
        assert mine.names[1:3] == its.names[1:3]
        assert mine.names[1:3] != its.names[:2]


def test_the_making_of_the_faces_is_not_part_of_the_start(tmp_path, cache, monkeypatch):
    made = trial_module.training_data

    def slowly(data, folder, fingerprint, split, shared):
        found = made(data, folder, fingerprint, split, shared)
        time.sleep(3)
        shared.computing += 3
        return found

    monkeypatch.setattr(trial_module, "training_data", slowly)
    _faces.cache_clear()
    values = tune_config(tmp_path, cache, cache_bytes=10**9) | {"handed": time.time()}
    assert Trial(values).advance()["start_seconds"] < 3
    _faces.cache_clear()


def test_the_time_until_training_begins_is_reported(tmp_path, cache):
    values = tune_config(tmp_path, cache)
    assert Trial(values).advance()["start_seconds"] is None
    trial = Trial(values | {"trial": 9, "handed": time.time() - 5})
    assert 5 <= trial.advance()["start_seconds"] < 10


def _slowed(real: Any) -> Any:
    """As `real`, but its first call takes a second more."""
    seconds = [1.0]

    def slow(*given: Any) -> Any:
        time.sleep(seconds.pop() if seconds else 0.0)
        return real(*given)

    return slow


@pytest.mark.parametrize("family", ["svm", "forest"])
def test_training_has_not_begun_before_its_features_are_at_hand(tmp_path, cache, monkeypatch, family):
    monkeypatch.setattr(features_module, "raw_features", _slowed(features_module.raw_features))
    values = tune_config(tmp_path, cache, {"family": family}) | {"handed": time.time()}
    assert 1 < Trial(values).advance()["start_seconds"] < 5


@pytest.mark.parametrize(
    ("config", "owner", "name"),
    [
        ({"family": "svm"}, features_module, "raw_features"),
        ({"family": "forest"}, features_module, "raw_features"),
        ({"family": "resnet", "weights": "none", "epochs": 1, "image_size": 32, "unfreeze": 0}, Prefix, "_run"),
    ],
)
def test_computing_what_others_will_find_is_not_starting(tmp_path, cache, monkeypatch, config, owner, name):
    monkeypatch.setattr(owner, name, _slowed(getattr(owner, name)))
    values = tune_config(tmp_path, tmp_path / "node", config, cache_bytes=10**9, views=2)
    trial = Trial(values | {"handed": time.time()})
    report = trial.advance()
    assert trial.cache.computing > 1
    assert report["start_seconds"] < 1


def test_a_trial_reports_every_rung_and_keeps_its_last_checkpoint(tmp_path, cache):
    trial = Trial(tune_config(tmp_path, cache))
    reports = steps(trial, 4)
    assert [report["fidelity"] for report in reports] == [1, 3, 9, 27]
    assert all(a["total_seconds"] < b["total_seconds"] for a, b in itertools.pairwise(reports))
    assert all(report["fit_seconds"] <= report["total_seconds"] for report in reports)
    assert [path.name for path in (tmp_path / "checkpoints" / "00007").iterdir()] == ["27"]


def test_the_kept_probabilities_give_the_reported_scores(tmp_path, cache):
    report = Trial(tune_config(tmp_path, cache)).advance()
    probabilities = np.load(tmp_path / report["checkpoint"] / "validation.npy", allow_pickle=False)
    scores = score(load_training(DATA, cache).validation.labels, probabilities)
    assert (scores.accuracy, scores.macro_f1) == (report["val_accuracy"], report["val_macro_f1"])


def test_another_worker_goes_on_where_one_died(tmp_path, cache):
    (tmp_path / "straight").mkdir()
    straight = steps(Trial(tune_config(tmp_path / "straight", cache)), 4)
    first = steps(Trial(tune_config(tmp_path, cache)), 2)
    rest = steps(Trial(tune_config(tmp_path, cache, recorded=3)), 2)
    assert [without_times(r) for r in first + rest] == [without_times(r) for r in straight]
    assert rest[0]["total_seconds"] > first[-1]["total_seconds"]


@pytest.mark.parametrize("done", [2, 4])
def test_a_measurement_the_driver_has_not_seen_is_reported_again_not_made_again(tmp_path, cache, done):
    first = steps(Trial(tune_config(tmp_path, cache)), done)
    assert Trial(tune_config(tmp_path, cache, recorded=1)).advance() == first[-1]


def test_a_warm_worker_takes_the_next_trial_and_finds_the_data_in_memory(tmp_path, cache):
    trial = Trial(tune_config(tmp_path, cache))
    trial.advance()
    values = tune_config(tmp_path, cache) | {"trial": 8}
    assert trial.reset_config(values)
    report = trial.advance()
    assert (report["trial"], report["fidelity"], report["cache_hit"]) == (8, 1, True)


def test_set_up_does_no_work_and_leaves_no_trace(tmp_path, cache):
    Trial(tune_config(tmp_path, cache))
    assert not (tmp_path / "checkpoints").exists()


def test_a_learner_that_cannot_go_on_ends_its_trial_with_the_reason(tmp_path, cache):
    rare = ProtocolSpec(negative=("angry", "sad"), neutral=("neutral",), positive=("disgust",), validation=0.85)
    trial = Trial(tune_config(tmp_path, cache, data=DataSpec(demo_images=700, protocol=rare)))
    report = trial.advance()
    assert set(report) == {"trial", "failed"}
    assert "every class needs at least 5 training images" in report["failed"]
    assert trial.reset_config(tune_config(tmp_path, cache) | {"trial": 8})
    assert trial.advance()["fidelity"] == 1


@pytest.mark.parametrize("where", ["fit_to", "predict_proba"])
def test_a_trial_that_finds_too_little_memory_fails_with_the_reason(tmp_path, cache, monkeypatch, where):
    trial = Trial(tune_config(tmp_path, cache))
    monkeypatch.setattr(SvmLearner, where, lambda *given: np.empty(2**62, np.uint8))
    report = trial.advance()
    assert report["failed"].startswith("out of memory (Unable to allocate")
    monkeypatch.undo()
    assert trial.reset_config(tune_config(tmp_path, cache) | {"trial": 8})
    assert trial.advance()["fidelity"] == 1


def test_other_errors_end_the_worker(tmp_path, cache, monkeypatch):
    def broken(*given):
        raise RuntimeError("shapes do not match")

    trial = Trial(tune_config(tmp_path, cache))
    monkeypatch.setattr(SvmLearner, "fit_to", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trial.advance()


def test_storage_that_cannot_be_reached_ends_the_worker_not_the_trial(tmp_path, cache, monkeypatch):
    def away(*given, **named):
        raise StorageError("s3://bucket/run: connection refused")

    trial = Trial(tune_config(tmp_path, cache))
    with monkeypatch.context() as patched:
        patched.setattr(TrialCheckpoints, "write", away)
        with pytest.raises(StorageError):
            trial.advance()
    successor = Trial(tune_config(tmp_path, cache))
    assert successor.advance()["fidelity"] == 1


def test_a_trial_waits_for_storage_and_goes_on_from_its_checkpoint(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(trial_module, "STORAGE_WAITS", (0, 0))
    write, answers = TrialCheckpoints.write, iter([True, False, False, True])

    def sometimes(*given, **named):
        if not next(answers, False):
            raise StorageError("s3://bucket/run: connection refused")
        write(*given, **named)

    trial = Trial(tune_config(tmp_path, cache))
    monkeypatch.setattr(TrialCheckpoints, "write", sometimes)
    assert [json.loads(trial.step()[REPORT])["fidelity"] for _ in range(2)] == [1, 3]
    with pytest.raises(StorageError):
        trial.step()


def test_a_killed_writer_leaves_no_checkpoint_but_the_last_whole_one(tmp_path, cache):
    trial = Trial(tune_config(tmp_path, cache))
    steps(trial, 2)
    folder = tmp_path / "checkpoints" / "00007"
    shutil.copytree(folder / "3", folder / "tmp-9-1234")
    checkpoints = TrialCheckpoints(tmp_path / "checkpoints", 7)
    assert checkpoints.latest() == 3
    trial.advance()
    assert [path.name for path in folder.iterdir()] == ["9"]


def test_dropping_the_state_keeps_what_selection_needs(tmp_path, cache):
    config = {"family": "resnet", "weights": "none", "epochs": 1, "image_size": 32}
    Trial(tune_config(tmp_path, cache, config)).advance()
    checkpoints = TrialCheckpoints(tmp_path / "checkpoints", 7)
    before = {path.name for path in checkpoints.path(1).iterdir()}
    checkpoints.drop_state()
    after = {path.name for path in checkpoints.path(1).iterdir()}
    assert after == {"model", "validation.npy", "report.json"}
    assert after < before


def test_a_trial_on_other_data_than_the_drivers_fails_with_a_sentence(tmp_path, cache):
    trial = Trial(tune_config(tmp_path, cache, split="0" * 32))
    assert trial.advance() == {"trial": 7, "failed": "demo: the data are not what they were when the search began"}
